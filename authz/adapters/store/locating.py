"""Finds the store's primary server, at its address, through Sentinels, or in a cluster."""

import re
import time
from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from redis.crc import key_slot

from authz.adapters.store.connection import LARGE_BYTES, Connection, Credentials, in_seconds
from authz.adapters.store.password import PasswordError, read_password
from authz.adapters.store.place import Context, Place, parse_place, tls_contexts
from authz.adapters.store.settings import StoreSettings
from authz.adapters.store.store import StoreAwayError

_DEFAULT_PORT: Final = 6379
_HOST: Final = re.compile(rb"[A-Za-z0-9._:-]{1,255}")
_PORT: Final = re.compile(rb"[0-9]{1,5}")
_MAX_PORT: Final = 65535


class Locator:
    """Opens connections to the primary server that the settings lead to."""

    def __init__(self, settings: StoreSettings, slot_of: bytes) -> None:
        """Take the settings, and a key whose slot counts in a cluster."""
        self._settings = settings
        self._slot = key_slot(slot_of)
        is_plain = settings.insecure or urlsplit(settings.url or "").scheme == "unix"
        self._context: Context | None = None if is_plain else tls_contexts(settings.tls)
        parts = urlsplit(settings.url or "")
        self._database = 0 if parts.scheme == "unix" else int(parts.path.strip("/") or 0)

    def locate(self, deadline: float) -> Place:
        """Return where the primary server is. Raises StoreAwayError."""
        settings = self._settings
        if settings.sentinel is not None:
            return self._first(settings.sentinel.addresses, self._of_sentinel, deadline)
        if settings.cluster:
            return self._first(settings.cluster, self._of_node, deadline)
        parts = urlsplit(settings.url or "")
        if parts.scheme == "unix":
            return Place(path=unquote(parts.path))
        return Place(parts.hostname or "", parts.port or _DEFAULT_PORT)

    def connect(self, place: Place, deadline: float) -> Connection:
        """Connect to a primary server that forgets nothing. Raises StoreAwayError, UnfitError."""
        connection = Connection(place, self._context, self._own(), deadline, self._database)
        try:
            connection.learn(deadline)
            connection.facts.check()
        except StoreAwayError:
            connection.close()
            raise
        return connection

    def _own(self) -> Credentials:
        return _credentials(self._settings.user, self._settings.password_file, "password_file")

    def _first(
        self,
        addresses: Sequence[str],
        ask: Callable[[Place, float], Place],
        deadline: float,
    ) -> Place:
        """Return the first answer; each server gets a part of the time. Raises StoreAwayError."""
        faults = []
        for at, address in enumerate(addresses):
            part = max(0.001, deadline - time.monotonic()) / (len(addresses) - at)
            try:
                return ask(parse_place(address), in_seconds(part))
            except StoreAwayError as error:
                faults.append(f"{address}: {error}")
        raise StoreAwayError("; ".join(faults[:3]))

    def _of_sentinel(self, place: Place, deadline: float) -> Place:
        sentinel = self._settings.sentinel
        assert sentinel is not None  # noqa: S101 - for the type checker
        key = "sentinel.password_file"
        credentials = _credentials(sentinel.user, sentinel.password_file, key)
        connection = Connection(place, self._context, credentials, deadline)
        try:
            ask = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", sentinel.service)
            told = connection.ask([ask], deadline)[0]
        finally:
            connection.close()
        if told is None:
            raise StoreAwayError(f"this Sentinel knows no service {sentinel.service}")
        return _told_place(told)

    def _of_node(self, place: Place, deadline: float) -> Place:
        """Return the node of our slot, from lists of [first, last, [host, port, ...], ...]."""
        connection = Connection(place, self._context, self._own(), deadline)
        try:
            told = connection.ask([("CLUSTER", "SLOTS")], deadline, LARGE_BYTES)[0]
        finally:
            connection.close()
        for part in told if isinstance(told, list) else ():
            if isinstance(part, list) and len(part) > 2 and _holds(part, self._slot):  # noqa: PLR2004 - begin, end, node
                # A node without a known address has that of the node that was asked.
                host = part[2][0] if isinstance(part[2], list) and part[2] else None
                return _told_place([host or place.host.encode(), *part[2][1:2]])
        raise StoreAwayError("its cluster has no node for our keys")


def _holds(part: list[Any], slot: int) -> bool:
    first, last = part[:2]
    return isinstance(first, int) and isinstance(last, int) and first <= slot <= last


def _told_place(told: object) -> Place:
    """Return a place that a server told: host and port. Raises StoreAwayError."""
    host, port = told if isinstance(told, list) and len(told) == 2 else (b"", b"")  # noqa: PLR2004 - a pair
    digits = port if isinstance(port, bytes) else str(port).encode()
    is_host = isinstance(host, bytes) and _HOST.fullmatch(host)
    if is_host and _PORT.fullmatch(digits) and 0 < int(digits) <= _MAX_PORT:
        return Place(host.decode(), int(digits))
    raise StoreAwayError("it tells no address of the primary server")


def _credentials(user: str | None, path: str | None, key: str) -> Credentials:
    """Read the password as its file is now. Raises StoreAwayError."""
    if path is None:
        return Credentials(user)
    try:
        return Credentials(user, read_password(path))
    except PasswordError as error:
        raise StoreAwayError(f"{key} {error}") from None
