"""Finds out before a server listens whether it could, and says why not."""

import os
import resource
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import combinations
from pathlib import Path
from typing import Final

from authz.transports.transport import TransportError

UNIX: Final = "unix:"
MAX_UNIX_BYTES: Final = 107  # unix(7): sun_path has 108 bytes, and ends with a zero
MAX_PORT: Final = 65535
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


def find_fault(address: str) -> str:
    """Return why nobody can listen on an address, "" if it is well-formed. Looks up no name."""
    if address.startswith(UNIX):
        is_long = len(os.fsencode(address.removeprefix(UNIX))) > MAX_UNIX_BYTES
        return f"longer than {MAX_UNIX_BYTES} bytes, the most for a unix socket" if is_long else ""
    host, port = _parted(address)
    if port > MAX_PORT:
        return f"there is no port {port}: the last is {MAX_PORT}"
    if _must_be_number(host) and not _is_number(host):
        return f"{host} is not an IP address"
    return ""


def find_obstacle(address: str) -> str:
    """Return why a unix socket can't be made where another file is; "" for any other address."""
    path = Path(address.removeprefix(UNIX))
    is_file = address.startswith(UNIX) and path.exists() and not path.is_socket()
    return "a file is there, and not a socket" if is_file else ""


def are_same(one: str, other: str) -> bool:
    """Tell whether two addresses take the same place, so that only one of them can be listened on.

    A name is the same as itself only: nothing is looked up.
    """
    if UNIX in (one[: len(UNIX)], other[: len(UNIX)]):
        return os.path.normpath(one) == os.path.normpath(other)
    (host, port), (other_host, other_port) = _parted(one), _parted(other)
    if port != other_port or port == 0:  # of 0 the system makes another port each time
        return False
    return host == other_host or _overlap(_ip(host), _ip(other_host))


def _overlap(
    one: IPv4Address | IPv6Address | None, other: IPv4Address | IPv6Address | None
) -> bool:
    """Tell whether one stands for all addresses, the other among them; None is a name."""
    for wide, narrow in ((one, other), (other, one)):
        if wide is None or not wide.is_unspecified:
            continue
        if wide.version == 6 or (narrow is not None and narrow.version == 4):  # noqa: PLR2004 - of IP
            return True  # [::] takes IPv4 as well
    return one is not None and one == other


def _parted(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]").lower(), int(port)


def _ip(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _must_be_number(host: str) -> bool:
    """Tell whether a host can't be a name: it has colons, or ends in a number (RFC 1123 2.1)."""
    return ":" in host or host.rpartition(".")[2].isdecimal()


def _is_number(host: str) -> bool:
    try:
        socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)
    except OSError:
        return False
    return True


def _refuse_unusable(address: str) -> None:
    """Raise TransportError if an address can't be bound; a port is bound for a moment to see it."""
    if fault := find_obstacle(address) or find_fault(address):
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
