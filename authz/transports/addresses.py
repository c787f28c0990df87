"""Finds out before a server listens whether it could, and says why not."""

import os
import resource
import socket
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path
from typing import Final

from authz.transports.address_faults import UNIX, are_same, find_fault, find_obstacle
from authz.transports.transport import TransportError

__all__ = [
    "UNIX",
    "connections_of_each",
    "refuse_taken_socket",
    "require_usable",
    "resolved",
    "taken",
]

# Of each address. A hundred proxies have some hundred connections.
MAX_CONNECTIONS: Final = 4096
# Descriptors that connections leave to the files and sockets that we open: a flood of connections
# must not keep us from reading the revocations.
RESERVED_DESCRIPTORS: Final = 256


def connections_of_each(addresses: int) -> int:
    """Return how many connections each address may have, by the process's descriptors."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    of_each = max(descriptors - RESERVED_DESCRIPTORS, descriptors // 2) // addresses
    return min(of_each, MAX_CONNECTIONS)


def refuse_taken_socket(address: str) -> None:
    """Raise TransportError for a unix socket that another server has, or without a folder.

    Whoever binds it would take the socket away from that server.
    """
    path = Path(address.removeprefix(UNIX))
    if not address.startswith(UNIX) or not str(path).startswith("/"):
        return
    if not path.parent.is_dir():
        raise TransportError(f"can't listen on {address}: there is no folder {path.parent}")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return
    raise TransportError(f"can't listen on {address}: another server answers on it")


def require_usable(addresses: Iterable[str]) -> None:
    """Raise TransportError if one of the addresses could not be listened on."""
    listed = tuple(addresses)
    for one, other in combinations(listed, 2):
        if are_same(one, other):
            raise TransportError(f"can't listen on {other}: it is the same as {one}")
    for address in listed:
        refuse_taken_socket(address)
        _refuse_unusable(address)


def _refuse_unusable(address: str) -> None:
    """Raise TransportError if an address can't be bound; a port is bound for a moment to see it."""
    if fault := find_fault(address) or find_obstacle(address):
        raise TransportError(f"can't listen on {address}: {fault}")
    if address.startswith(UNIX):
        folder = Path(address.removeprefix(UNIX)).parent
        if not os.access(folder, os.W_OK | os.X_OK):
            raise TransportError(f"can't listen on {address}: {folder} can't be written")
        return
    family, place = resolved(address)
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as error:
        raise taken(address, error) from None


def resolved(address: str) -> tuple[socket.AddressFamily, tuple[object, ...]]:
    """Return the family and the place of a host:port address. Raises TransportError."""
    host, _, port = address.rpartition(":")
    try:
        found = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, OverflowError) as error:
        raise taken(address, error) from None
    family, _, _, _, place = found[0]
    return family, place


def taken(address: str, error: Exception) -> TransportError:
    """Return the error of an address that can't be bound."""
    return TransportError(f"can't listen on {address}: is it in use? ({error})")
