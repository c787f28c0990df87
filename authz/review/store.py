"""``authz store``: asks the store of a config what it is, and whether it can be used."""

import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from authz.adapters.store.store import Mark, StoreError
from authz.config import Config
from authz.wiring.store import open_engine, store_namespace

if TYPE_CHECKING:  # an optional extra
    from authz.adapters.store.engine import EngineStore

SECONDS: Final = 5.0  # for each answer: more than a server would wait
_ROUNDS: Final = 20  # of which the fastest is told
_MIB: Final = 1024 * 1024
_Found = tuple[list[tuple[str, str]], dict[str, Any]]


class StoreReport(NamedTuple):
    """What was found: names and values for a person, members for ``--json``.

    ``fault`` says why the store can't be used, "" if it can.
    """

    rows: tuple[tuple[str, str], ...]
    found: dict[str, Any]
    fault: str = ""

    def lines(self) -> list[str]:
        """Return the lines for a person."""
        rows = [*self.rows, *([("problem", self.fault)] if self.fault else ())]
        width = max(len(name) for name, _ in rows)
        return [f"{name.ljust(width)}  {value}" for name, value in rows]

    def members(self) -> dict[str, Any]:
        """Return the members for ``--json``."""
        return {**self.found, "problem": self.fault or None}


def inspect_store(config: Config) -> StoreReport:
    """Use the store as a server does, without a trace that lasts. Raises BuildError."""
    store = open_engine(config)
    if store is None or config.store is None:
        return StoreReport((), {}, "the config has no store: each process remembers alone")
    namespace = store_namespace(config)
    rows: list[tuple[str, str]] = [("store", config.store.where), ("namespace", namespace)]
    found: dict[str, Any] = {"store": config.store.where, "namespace": namespace}
    with closing(store):
        store.start()
        try:
            for ask in (_ask_server, _use):
                told, members = ask(store)
                rows += told
                found |= members
                if missing := members.get("missing"):
                    return StoreReport(tuple(rows), found, _too_narrow(missing))
        except StoreError as error:
            return StoreReport(tuple(rows), found, str(error))
    return StoreReport(tuple(rows), found)


def _too_narrow(missing: Sequence[str]) -> str:
    """Return what to do about commands that our user may not run."""
    rights = " ".join(f"+{name}" for name in missing)
    return f"the access control list of our user is too narrow: add {rights}"


def _ask_server(store: "EngineStore") -> _Found:
    """Return what the server says of itself. Raises StoreError."""
    server = store.inspect(SECONDS)
    room = f" of {server.max_bytes // _MIB} MiB" if server.max_bytes else ", no limit"
    rows = [
        ("server", f"{server.engine} {server.version} at {server.place}"),
        ("maxmemory-policy", server.policy),
        ("memory", f"{server.used_bytes // _MIB} MiB{room}"),
        ("replicas", str(server.replicas)),
        ("append-only file", "yes" if server.is_persistent else "no"),
    ]
    return rows, {name: getattr(server, name) for name in server.__struct_fields__}


def _use(store: "EngineStore") -> _Found:
    """Return what comes of a use of a mark that ends soon, and of reading. Raises StoreError."""
    now = time.time()
    mark = Mark(b"check-" + secrets.token_bytes(8), b"check", now, now + 1)
    store.use(mark, now, SECONDS)
    entries = len(store.entries(SECONDS).entries)
    fastest = min(_round_trip(store.version) for _ in range(_ROUNDS))
    rows = [("revocations", str(entries)), ("round trip", f"{fastest * 1000:.2f} ms")]
    return rows, {"revocations": entries, "round_trip_seconds": fastest}


def _round_trip(ask: Callable[[float], object]) -> float:
    begun = time.monotonic()
    ask(SECONDS)
    return time.monotonic() - begun
