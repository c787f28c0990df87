"""Remembers exchanged tokens and refusals under digests, for a bounded time and in bounded memory.

An agent has a quarter of the memory at most, and loses its own oldest entries first. So an agent
that sends many tokens makes the issuer work for itself, and not again for others.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import msgspec

from authz.core.reason import Denied, Reason
from authz.core.upstream_token import UpstreamCredential

MAX_BYTES: Final = 64 * 1024 * 1024  # of all agents: some 20,000 tokens
_SHARES: Final = 4  # an agent has a part of it
_ENTRY_BYTES: Final = 1000  # the digest, dict slots, the entry and the credential without its value
_SWEEP_SECONDS: Final = 10.0  # entries that have ended are dropped about that often


class Exchanged(msgspec.Struct, gc=False):
    """A token that may be sent.

    Attributes:
        value: the header's value, a secret.
        credential_id: names the token in records.
        asked_at: unix seconds at which it was asked for.
        renew_at: unix seconds from which a new one is fetched when it is used.
        good_until: unix seconds until which it may be sent.
        handed: what was handed out last. Caches compare it by identity, so that the same token is
            the same object.
    """

    value: str
    credential_id: str
    asked_at: float
    renew_at: float
    good_until: float
    handed: UpstreamCredential | None = None

    def __repr__(self) -> str:
        """Return no token, so that no log line can hold one."""
        return f"Exchanged({self.credential_id})"


class Refused(msgspec.Struct, frozen=True, gc=False):
    """A refusal, of the issuer or of its answer."""

    reason: Reason
    detail: str

    def denied(self) -> Denied:
        """Return a new error: several threads may raise one each."""
        return Denied(self.reason, self.detail)


class _Entry(msgspec.Struct, frozen=True, gc=False):
    outcome: Exchanged | Refused
    ends: float
    weight: int


class ExchangeMemory:
    """A bounded map of outcomes by question. Many threads may use it."""

    def __init__(
        self, max_bytes: int = MAX_BYTES, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin empty; ``monotonic`` returns the seconds by which entries end."""
        self._lock = threading.Lock()  # not on the path of remembered decisions
        self._max_bytes = max_bytes
        self._monotonic = monotonic
        self._agents: dict[str, OrderedDict[bytes, _Entry]] = {}
        self._bytes: dict[str, int] = {}
        self._total = 0
        self._swept = monotonic()

    def get(self, agent: str, key: bytes) -> Exchanged | Refused | None:
        """Return an agent's outcome by the question's key, None if it is missing or has ended."""
        with self._lock:
            entries = self._agents.get(agent)
            entry = None if entries is None else entries.get(key)
            if entries is None or entry is None:
                return None
            if self._monotonic() >= entry.ends:
                self._drop(agent, key)
                return None
            entries.move_to_end(key)
            return entry.outcome

    def put(self, agent: str, key: bytes, outcome: Exchanged | Refused, ends: float) -> None:
        """Keep an outcome until ``ends``, in monotonic seconds, in place of an earlier one."""
        weight = _ENTRY_BYTES + (len(outcome.value) if isinstance(outcome, Exchanged) else 0)
        with self._lock:
            self._drop(agent, key)
            self._sweep()
            if weight > self._max_bytes // _SHARES:
                return
            self._agents.setdefault(agent, OrderedDict())[key] = _Entry(outcome, ends, weight)
            self._bytes[agent] = self._bytes.get(agent, 0) + weight
            self._total += weight
            while self._bytes[agent] > self._max_bytes // _SHARES:
                self._drop_oldest(agent)
            while self._total > self._max_bytes:
                self._drop_oldest(max(self._bytes, key=self._bytes.__getitem__))

    def __len__(self) -> int:
        """Return the number of outcomes held; one that has ended may count."""
        with self._lock:
            return sum(map(len, self._agents.values()))

    @property
    def held_bytes(self) -> int:
        """The bytes held, about."""
        return self._total

    def _drop_oldest(self, agent: str) -> None:
        self._drop(agent, next(iter(self._agents[agent])))

    def _drop(self, agent: str, key: bytes) -> None:
        entries = self._agents.get(agent)
        entry = None if entries is None else entries.pop(key, None)
        if entries is None or entry is None:
            return
        self._total -= entry.weight
        self._bytes[agent] -= entry.weight
        if not entries:
            del self._agents[agent], self._bytes[agent]

    def _sweep(self) -> None:
        """Drop what has ended: a token is not kept for longer than it may be used."""
        now = self._monotonic()
        if now - self._swept < _SWEEP_SECONDS:
            return
        self._swept = now
        ended = [
            (agent, key)
            for agent, entries in self._agents.items()
            for key, entry in entries.items()
            if now >= entry.ends
        ]
        for agent, key in ended:
            self._drop(agent, key)
