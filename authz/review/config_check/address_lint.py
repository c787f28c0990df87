"""Checks a config's addresses.

Whether the server can listen on them, and who else can reach them.
"""

import os
from collections.abc import Iterator
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from authz.adapters.admin_settings import AdminSettings
from authz.adapters.sts_settings import StsAdminSettings
from authz.config import Config, Place, dotted
from authz.core.extras import missing_extra
from authz.transports.address_faults import UNIX, are_same, find_fault, find_obstacle

Found = Iterator[tuple[Place, str]]
_LOCAL: Final = "localhost"
_ADMIN: Final[Place] = ("admin", "listen")
_STS_ADMIN: Final[Place] = ("sts", "admin", "listen")
_SIGNALS: Final[Place] = ("signals", "listen")
_KEYS: Final[Place] = ("assertions", "listen")


def address_problems(config: Config) -> Found:
    """Yield each address that a server can't listen on, or connect to, wherever it runs; and why.

    Does not check whether a port is free, and does not look up names.
    """
    taken: list[tuple[str, Place]] = []
    told: set[Place] = set()
    for place, address, title in _bound(config):
        if place in told:
            continue
        why = find_fault(address) or find_obstacle(address) or _taken_by(address, taken)
        if why:
            told.add(place)
            yield place, f"{title}can't listen on {address}: {why}"
        taken.append((address, place))
    for place, address in _connected(config):
        if why := find_fault(address):
            yield place, why
        if find_spec("spiffe") is None:
            yield place, missing_extra("spiffe", "the Workload API needs")


def address_warnings(config: Config) -> Found:
    """Yield each address that more clients can reach than should, and TLS that no address has."""
    server = config.server
    for at, address in enumerate(server.listen):
        if server.tls is None and not _is_local(address):
            message = (
                "any client that reaches it may ask: add server.tls, or listen on unix: or loopback"
            )
            yield ("server", "listen", at), message
    if server.tls is not None and all(address.startswith(UNIX) for address in server.listen):
        message = "unix sockets have no TLS, and server.listen has no other address: leave tls out"
        yield ("server", "tls"), message
    for place, admin in _admins(config):
        if not admin.exposed and not _is_local(admin.listen):
            message = (
                "others may reach it, and it has no authentication: listen on loopback, or keep it "
                "to operators by a network policy or firewall and say so by exposed: true"
            )
            yield place, message
    signals = config.signals
    if signals is not None and signals.insecure and not _is_local(signals.listen):
        message = (
            "others may reach it without TLS: set tls, or listen on loopback, for the proxy that"
            " ends TLS"
        )
        yield _SIGNALS, message
    assertions = config.assertions
    if assertions is not None and assertions.insecure and not _is_local(assertions.listen):
        message = (
            "anyone on the network path can give verifiers other keys: set tls, or listen on"
            " loopback, for the proxy that ends TLS"
        )
        yield _KEYS, message


def socket_warnings(config: Config) -> Found:
    """Yield each unix socket whose folder is here, and can't be written by this user."""
    for place, folder in _folders(config):
        if _is_there(folder) and not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
            yield place, f"{folder} can't be written by this user; the server's has to"


def socket_notes(config: Config) -> Found:
    """Yield each unix socket whose folder is missing here: many are made when a service starts."""
    for place, folder in _folders(config):
        if not _is_there(folder):
            yield place, f"there is no folder {folder} here; it has to be there when it is served"
    for place, address in _connected(config):
        if not _is_there(Path(address.removeprefix(UNIX))):
            yield place, f"there is no socket {address} here; the server needs it from its start on"


def _is_there(path: Path) -> bool:
    """Tell whether this user can see a path; never raises, as ``Path.exists`` does."""
    return os.access(path, os.F_OK, effective_ids=True)


def _folders(config: Config) -> Iterator[tuple[Place, Path]]:
    """Yield the folder of each unix socket to listen on, once for all workers."""
    for at, address in enumerate(config.server.of_worker(0).listen):
        if address.startswith(UNIX):
            yield ("server", "listen", at), Path(address.removeprefix(UNIX)).parent


def _admins(config: Config) -> Iterator[tuple[Place, AdminSettings | StsAdminSettings]]:
    yield _ADMIN, config.admin
    if config.sts is not None:
        yield _STS_ADMIN, config.sts.admin


def _bound(config: Config) -> Iterator[tuple[Place, str, str]]:
    """Yield the place of each address to bind, the address, and its user, for a message."""
    yield _ADMIN, config.admin.listen, ""
    if config.signals is not None and config.signals.listens:
        yield _SIGNALS, config.signals.listen, ""
    if config.assertions is not None:
        yield _KEYS, config.assertions.listen, ""
    if config.sts is not None:
        yield ("sts", "listen"), config.sts.listen, ""
        yield _STS_ADMIN, config.sts.admin.listen, ""
    for number in range(config.server.workers):
        title = f"worker {number} " if config.server.workers > 1 else ""
        for at, address in enumerate(config.server.of_worker(number).listen):
            yield ("server", "listen", at), address, title


def _taken_by(address: str, taken: list[tuple[str, Place]]) -> str:
    """Return the place of the same address before it; "" if it is the first."""
    for other, place in taken:
        if are_same(address, other):
            return f"{dotted(place)} already takes it, with {other}; give each its own"
    return ""


def _connected(config: Config) -> Iterator[tuple[Place, str]]:
    """Yield each socket of the Workload API."""
    tls = config.server.tls
    if tls is not None and tls.workload_api is not None:
        yield ("server", "tls", "workload_api"), tls.workload_api
    for at, issuer in enumerate(config.issuers):
        bundle = issuer.bundle
        if bundle is not None and bundle.workload_api is not None:
            place: Place = ("issuers", at, "keys", "spiffe_bundle", "workload_api")
            yield place, bundle.workload_api


def _is_local(address: str) -> bool:
    if address.startswith(UNIX):
        return True
    host = address.rpartition(":")[0].strip("[]")
    try:
        return host == _LOCAL or ip_address(host).is_loopback
    except ValueError:
        return False
