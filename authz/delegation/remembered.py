"""Verified tokens, remembered: a known token on a new path costs no signature check.

What is remembered is the outcome of all of step 2, under everything that it reads: so no check can
be skipped that another request would have needed. The step is shown a request without method, host
and path, and so can't depend on them; a DPoP proof does, and is never remembered (RFC 9449).
"""

from hashlib import sha256
from typing import Final, Protocol

import msgspec

from authz.bounded import BoundedMap, Generation
from authz.decision import Agent, Delegation
from authz.request import DPOP, Request
from authz.routes import Route

ENTRY_BYTES: Final = 900  # measured: key, dict slots, the entry and a Delegation
CLAIMS_FACTOR: Final = 4  # measured: Python's objects for each byte of the token


class DelegationStep(Protocol):
    """Step 2: whoever can say on whose behalf an agent acts."""

    def verify(self, request: Request, agent: Agent, route: Route, now: float) -> Delegation:
        """The verified delegation. Raises Denied."""


class _Verified(msgspec.Struct, frozen=True, gc=False):
    """A delegation, when it was verified (unix seconds) and with which generation of keys."""

    delegation: Delegation
    at: float
    generation: int
    size: int


class RememberedDelegations:
    """Step 2, with a memory. Refusals are not remembered here."""

    def __init__(
        self, step: DelegationStep, keys: Generation, *, entries: int, max_bytes: int
    ) -> None:
        """Take who verifies, the key sets, and how much to remember."""
        self._step = step
        self._keys = keys
        self._known: BoundedMap[tuple[bytes, str, str, str], _Verified] = BoundedMap(
            entries, max_bytes, lambda _, one: one.size
        )
        self._encode = msgspec.msgpack.Encoder().encode

    def verify(self, request: Request, agent: Agent, route: Route, now: float) -> Delegation:
        """The verified delegation, now or before. Raises Denied."""
        if request.header(DPOP) is not None:
            return self._step.verify(request, agent, route, now)
        read = Request("", "", "", request.headers, elsewhere=request.elsewhere, rpc=request.rpc)
        encoded = self._encode(read)
        key = (sha256(encoded).digest(), agent.spiffe_id.text, agent.thumbprint, route.name)
        generation = self._keys.generation  # before the verification: a change during it must show
        known = self._known.get(key)
        # Not before the time of its verification either: a clock that was set back decides anew.
        if (
            known is not None
            and known.at <= now < known.delegation.expires_at
            and known.generation == generation
        ):
            return known.delegation
        delegation = self._step.verify(read, agent, route, now)
        size = ENTRY_BYTES + CLAIMS_FACTOR * len(encoded)
        self._known.put(key, _Verified(delegation, now, generation, size))
        return delegation

    def __len__(self) -> int:
        """Tokens held, good or stale; one used again may count twice."""
        return len(self._known)
