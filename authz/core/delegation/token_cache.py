"""Verified tokens, remembered: a known token on a new path costs no signature check.

What is remembered is the outcome of all of step 2, under everything that it reads: so no check can
be skipped that another request would have needed. The step is shown a request without method, host
and path, and so can't depend on them; a DPoP proof does, and is never remembered (RFC 9449).
"""

from sys import getsizeof
from typing import Final, Protocol

import msgspec

from authz.core.bounded_map import BoundedMap, Generation
from authz.core.decision import Agent, Delegation
from authz.core.request import DPOP, Call, Request
from authz.core.routes import Route

ENTRY_BYTES: Final = 1000  # measured: key without its texts, dict slots, the entry, a Delegation
CLAIMS_FACTOR: Final = 4  # measured: Python's objects for each byte of the token


class DelegationStep(Protocol):
    """Step 2: whoever can say on whose behalf an agent acts."""

    def verify(self, request: Request, agent: Agent, route: Route, now: float) -> Delegation:
        """Return the verified delegation. Raises Denied."""


class _Verified(msgspec.Struct, frozen=True, gc=False):
    """A delegation, when it was verified (unix seconds) and with which generation of keys."""

    delegation: Delegation
    at: float
    generation: int


_Key = tuple[tuple[tuple[str, str], ...], tuple[str, ...], tuple[Call, ...], str, str, str]


class DelegationCache:
    """Step 2, with a memory. Refusals are not remembered here."""

    def __init__(
        self, step: DelegationStep, keys: Generation, *, entries: int, max_bytes: int
    ) -> None:
        """Take who verifies, the key sets, and how much to remember."""
        self._step = step
        self._keys = keys
        self._known: BoundedMap[_Key, _Verified] = BoundedMap(entries, max_bytes, _entry_bytes)

    def verify(self, request: Request, agent: Agent, route: Route, now: float) -> Delegation:
        """Return the verified delegation, now or before. Raises Denied."""
        if request.header(DPOP) is not None:
            return self._step.verify(request, agent, route, now)
        headers, elsewhere = request.headers, request.elsewhere
        calls = route.bootstrap_calls(request)  # nothing else of a message matters here
        key = (headers, elsewhere, calls, agent.spiffe_id.text, agent.thumbprint, route.name)
        generation = self._keys.generation  # before the verification: a change during it must show
        known = self._known.get(key)
        # Not before the time of its verification either: a clock that was set back decides anew.
        if (
            known is not None
            and known.at <= now < known.delegation.expires_at
            and known.generation == generation
        ):
            return known.delegation
        read = Request("", "", "", headers, elsewhere=elsewhere, calls=calls)
        delegation = self._step.verify(read, agent, route, now)
        self._known.put(key, _Verified(delegation, now, generation))
        return delegation

    def __len__(self) -> int:
        """Tokens held, good or stale; one used again may count twice."""
        return len(self._known)


def _entry_bytes(key: _Key, _: _Verified) -> int:
    texts = sum(getsizeof(value) for _, value in key[0])
    texts += sum(getsizeof(call.method) for call in key[2])
    return ENTRY_BYTES + (1 + CLAIMS_FACTOR) * texts
