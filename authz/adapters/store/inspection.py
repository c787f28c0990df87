"""Asks the server that keeps a store about itself, for operators."""

from collections.abc import Sequence

import msgspec

from authz.adapters.store.answers import checked
from authz.adapters.store.connection import Connection


class Inspection(msgspec.Struct, frozen=True):
    """The server that keeps a store.

    Attributes:
        place: its address.
        engine, version: such as valkey, 8.1.0.
        policy: what it does when its memory is full.
        used_bytes, max_bytes: its memory; 0 for no limit.
        replicas: how many replicas are connected to it.
        is_persistent: whether it keeps its data over a restart by an append-only file.
        missing: the commands that our user needs and may not run; none if the server can't tell.
    """

    place: str
    engine: str
    version: str
    policy: str
    used_bytes: int
    max_bytes: int
    replicas: int
    is_persistent: bool
    missing: tuple[str, ...]


def inspect_server(
    connection: Connection, deadline: float, missing: Sequence[object]
) -> Inspection:
    """Ask a server about itself; ``missing`` is what ``rights.lua`` told. Raises StoreAwayError."""
    told = connection.learn(deadline)
    facts = connection.facts
    return Inspection(
        place=str(connection.place),
        engine=facts.engine,
        version=facts.version,
        policy=facts.policy,
        used_bytes=_number(told.get("used_memory")),
        max_bytes=_number(told.get("maxmemory")),
        replicas=_number(told.get("connected_slaves")),
        is_persistent=told.get("aof_enabled") == "1",
        missing=tuple(checked(name, bytes).decode("ascii", "replace") for name in missing),
    )


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdecimal() else 0
