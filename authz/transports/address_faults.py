"""Tells what is wrong with an address by itself, or beside another: binds and looks up nothing."""

import os
import socket
import stat
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Final

UNIX: Final = "unix:"
MAX_UNIX_BYTES: Final = 107  # unix(7): sun_path has 108 bytes, and ends with a zero
MAX_PORT: Final = 65535


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
    if not address.startswith(UNIX):
        return ""
    path = Path(address.removeprefix(UNIX))
    try:
        mode = path.stat().st_mode
    except OSError:  # nothing is there, or it shows when it is bound
        is_link = os.path.islink(path)  # noqa: PTH114 - ``is_symlink`` raises in a closed folder
        return "a link that leads nowhere is there" if is_link else ""
    return "" if stat.S_ISSOCK(mode) else "a file is there, and not a socket"


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
        socket.getaddrinfo(host.partition("%")[0], None, flags=socket.AI_NUMERICHOST)
    except OSError:
        return False
    return True
