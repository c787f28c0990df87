"""The store that a Valkey or Redis server keeps, for all who share its namespace.

A call goes one way, to the socket and back:

1. ``EngineStore`` makes the keys and arguments of a script (``script``, ``scripts/*.lua``). One
   script is one operation: atomic, and one round trip.
2. ``calls`` counts it, and holds calls back for a moment while the server stays silent.
3. ``connections`` gives it a connection, which a thread has made: ``locating`` finds the primary
   server, ``place`` opens the socket, and ``connection`` speaks the protocol within a deadline.
4. ``answers`` reads what the script says, and ``faults`` what the server or the library says in its
   place. Whatever is not certain is a StoreError.

A server may forget: by a restart, by eviction, or when another one takes its place. So a connection
learns the id of its memory (``ServerFacts.id``), each script is told it, and the server writes down
since when it has it (``scripts/head.lua``).

``watcher`` hears of changed revocations, by a connection of its own; ``inspection`` is for
operators.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

from authz.adapters.store.answers import (
    checked,
    checked_answer,
    garbage,
)
from authz.adapters.store.calls import Calls, Pace
from authz.adapters.store.connection import (
    Command,
    Connection,
    in_seconds,
)
from authz.adapters.store.connections import Connections
from authz.adapters.store.inspection import Inspection, inspect_server
from authz.adapters.store.locating import Locator
from authz.adapters.store.register import EngineRegister, ScriptCall
from authz.adapters.store.script import load_script
from authz.adapters.store.settings import StoreSettings
from authz.adapters.store.store import (
    CLOCKS_DIFFER_SECONDS,
    Charge,
    ExhaustedError,
    Mark,
    StoreAwayError,
    StoreBusyError,
    StoreFullError,
    StoreStatus,
)
from authz.adapters.store.watcher import Watcher

CLOSE_SECONDS: Final = 0.5  # that a stop waits for its threads
_MIN_TTL_MS: Final = 1000
_WAIT_PART: Final = 0.9  # of the time that is left, so that the answer comes in time
_LEAST_SECONDS: Final = 0.005  # for a question; a connection is lost if its answer is late
_FAIR_SECONDS: Final = 0.05  # a shorter silence says nothing about the store


class EngineStore(EngineRegister):
    """A store in a Valkey or Redis server; its keys begin with the prefix and the namespace.

    It is itself the register of revocations.

    Attributes:
        consents: the register of consents.
    """

    def __init__(
        self, settings: StoreSettings, namespace: str, wall: Callable[[], float] = time.time
    ) -> None:
        """Take the settings, the namespace that divides its keys from others', and the clock."""
        self._wall = wall
        self._settings = settings
        # The braces are a hash tag: a cluster has all keys with it in one slot.
        self._prefix = f"{{{settings.prefix}:{namespace}}}:"
        self._channel = self._key("revocations:changed")  # told of every register's changes
        locator = Locator(settings, self._prefix.encode())
        self._connections = Connections(locator, self._greet)
        self._watcher = Watcher(locator, self._channel)
        self._calls = Calls()
        self._pace = Pace(settings.timeout)
        self._tags = itertools.count(1)
        super().__init__("revocations", self._run, self._key, self._channel, self._watcher.add)
        self.consents = EngineRegister(
            "consents", self._run, self._key, self._channel, self._watcher.add
        )

    def start(self) -> None:
        """Begin to connect; nothing waits for it."""
        self._connections.start()
        self._watcher.start()

    def close(self) -> None:
        """End its threads and connections, within CLOSE_SECONDS.

        A thread that waits for a silent server, or a resolver, ends by itself, and changes nothing.
        """
        deadline = in_seconds(CLOSE_SECONDS)
        self._watcher.close()
        self._connections.close()
        for part in (self._watcher, self._connections):
            part.join(max(0.0, deadline - time.monotonic()))

    def status(self) -> StoreStatus:
        """Return its state, without waiting."""
        calls = self._calls
        return StoreStatus(
            is_shared=True,
            is_away=calls.is_away or self._connections.fault is not None,
            answered_at=calls.answered_at,
            calls=calls.counts(),
        )

    def inspect(self, seconds: float) -> Inspection:
        """Ask the server about itself, for an operator. Raises StoreAwayError."""
        deadline = in_seconds(seconds)
        connection = self._connections.take(deadline)
        call = ScriptCall("rights", self._keys("memory"), (self._channel,))
        try:
            missing = self._ask(connection, call, deadline)
            return inspect_server(connection, deadline, missing)
        finally:
            self._connections.give_back(connection)

    def use(self, mark: Mark, now: float, seconds: float) -> None:
        """Mark as used, as ``Marks.use``."""
        clock = self._wall()
        now = max(now, clock)  # a check may have waited: what it asks about is older by now
        seconds = self._in_check(seconds)
        differs = CLOCKS_DIFFER_SECONDS / 2  # so that no two servers differ by more than all of it
        ttl_ms = max(_MIN_TTL_MS, int((mark.until - now) * 1000) + 1)
        keys = self._keys(f"marks:{mark.key.hex()}", "memory")
        age = repr(now - mark.made_at)
        arguments = mark.attempt, age, ttl_ms, repr(clock), differs + seconds, differs
        self._run(ScriptCall("use", keys, arguments, is_kept=True, is_in_check=True), seconds)

    def agreed(self, name: str, proposal: bytes, seconds: float) -> bytes:
        """Return the value that all replicas have for a name."""
        answer = self._run(ScriptCall("agreed", self._keys(f"agreed:{name}"), (proposal,)), seconds)
        return checked(answer[0], bytes)

    def spend(self, charges: Sequence[Charge], now: float, seconds: float) -> None:  # noqa: ARG002 - the store's clock counts
        """Spend all charges, or none, as ``Budgets.spend``."""
        keys = self._keys(*(f"budget:{charge.key.hex()}" for charge in charges))
        arguments = tuple(
            part for charge in charges for part in (charge.cost, charge.limit, charge.window)
        )
        try:
            self._run(
                ScriptCall("spend", keys, arguments, is_in_check=True), self._in_check(seconds)
            )
        except ExhaustedError as error:
            if error.at >= len(charges):
                raise garbage() from None
            raise

    def _greet(self, connection: Connection, deadline: float) -> None:
        """Have the server remember since when it does, before the first question."""
        with suppress(StoreFullError):  # revocations can still be read
            self._ask(connection, ScriptCall("remember", self._keys("memory")), deadline)

    def _key(self, name: str) -> str:
        return self._prefix + name

    def _keys(self, *names: str) -> tuple[str, ...]:
        return tuple(self._key(name) for name in names)

    def _in_check(self, seconds: float) -> float:
        return min(seconds, self._settings.timeout)

    def _run(self, call: ScriptCall, seconds: float) -> list[Any]:
        """Run a script, and return its answer after the status."""
        deadline = in_seconds(seconds)
        connection: Connection | None = None
        with self._calls.counted(call.name):
            try:
                with self._fairly(deadline):
                    connection = self._connections.take(deadline)
                with self._fairly(deadline):
                    return self._ask_in_time(connection, call, deadline)
            except StoreAwayError:
                if (
                    connection and not connection.is_closed
                ):  # it answered that it is not to be asked
                    connection.close()
                    self._connections.reset()
                raise
            finally:  # whatever happened since it was taken
                if connection:
                    self._connections.give_back(connection)

    def _ask_in_time(self, connection: Connection, call: ScriptCall, deadline: float) -> list[Any]:
        if not call.is_in_check:  # it may take longer, and waits for longer
            return self._ask(connection, call, deadline)
        begun = time.monotonic()
        self._pace.require(deadline - begun)
        answer = self._ask(connection, call, deadline)
        self._pace.took(time.monotonic() - begun)
        return answer

    @contextmanager
    def _fairly(self, deadline: float) -> Iterator[None]:
        """Raise StoreBusyError where too little time was left for silence to mean anything."""
        left, timeout = deadline - time.monotonic(), self._settings.timeout
        if left < min(_LEAST_SECONDS, timeout / 2):
            raise StoreBusyError("no time was left to ask the store")
        try:
            yield
        except StoreAwayError as error:
            if left < min(_FAIR_SECONDS, timeout / 2) and time.monotonic() >= deadline:
                raise StoreBusyError(f"too little time was left: {error}") from None
            raise

    def _ask(self, connection: Connection, call: ScriptCall, deadline: float) -> list[Any]:
        tag, copies = b"%d" % next(self._tags), self._settings.acknowledged_by
        head = tag, connection.facts.id, 0 if call.is_kept else copies
        # 0 would mean: wait for ever.
        wait_ms = max(1, int((deadline - time.monotonic()) * _WAIT_PART * 1000))
        wait: Command = ("WAIT", copies, wait_ms) if call.is_kept and copies else ()
        asked = (len(call.keys), *call.keys, *head, *call.arguments)
        script = load_script(call.name)
        answers = connection.run(script, asked, wait, deadline, call.max_bytes)
        answer = checked_answer(answers[0], tag)
        if wait and not (isinstance(answers[1], int) and answers[1] >= copies):
            raise StoreAwayError(f"fewer than {copies} of its replicas have it in time")
        return answer
