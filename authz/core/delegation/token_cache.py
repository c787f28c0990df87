"""A cache of verified tokens: a known token on a new path costs no signature check.

It holds the result of all of step 2, and its key is everything that the step reads: so it skips no
check that another request would need. The step gets a request without method, host and path, and so
can't depend on them. A DPoP proof does depend on them, and is never cached (RFC 9449).
"""

from sys import getsizeof
from typing import Final, Protocol

import msgspec

from authz.core.bounded_map import BoundedMap, Generation
from authz.core.decision import Agent, Delegation
from authz.core.request import DPOP, Call, Request
from authz.core.routes import Route

ENTRY_BYTES: Final = (
    1000  # measured: the key without its texts, dict slots, the entry, a Delegation
)
CLAIMS_FACTOR: Final = 4  # measured: Python's objects for each byte of the token


class DelegationStep(Protocol):
    """Step 2 of the pipeline: verifies on whose behalf an agent acts.

    Guarantees that a returned delegation names this agent, or is a bootstrap. Does not guarantee
    that the token was not revoked, nor that a proof is used for the first time.
    """

    def verify(self, request: Request, agent: Agent, route: Route, now: float) -> Delegation:
        """Return the verified delegation. Raises Denied with the reason of the failed check."""


class _Verified(msgspec.Struct, frozen=True, gc=False):
    """A delegation, when it was verified (unix seconds) and with which generation of keys."""

    delegation: Delegation
    at: float
    generation: int


_Key = tuple[tuple[tuple[str, str], ...], tuple[str, ...], tuple[Call, ...], str, str, str]


class DelegationCache:
    """Step 2 with a cache of its delegations. Refusals are not cached here."""

    def __init__(
        self, step: DelegationStep, keys: Generation, *, entries: int, max_bytes: int
    ) -> None:
        """Begin empty; ``step`` verifies, and a change of ``keys`` makes all entries stale."""
        self._step = step
        self._keys = keys
        self._known: BoundedMap[_Key, _Verified] = BoundedMap(entries, max_bytes, _entry_bytes)

    def verify(self, request: Request, agent: Agent, route: Route, now: float) -> Delegation:
        """Return the delegation, verified now or before. Raises Denied."""
        if request.header(DPOP) is not None:
            return self._step.verify(request, agent, route, now)
        headers, elsewhere = request.headers, request.elsewhere
        calls = route.bootstrap_calls(request)  # the step reads nothing else of a message
        key = (headers, elsewhere, calls, agent.spiffe_id.text, agent.thumbprint, route.name)
        generation = (
            self._keys.generation
        )  # read before the verification: a change during it must show
        known = self._known.get(key)
        # Nor is it used before the time of its verification: if the clock was set back, it is
        # verified anew.
        if (
            known is not None
            and known.at <= now < known.delegation.expires_at
            and known.generation == generation
        ):
            return known.delegation
        read = Request("", "", "", headers, elsewhere=elsewhere, calls=calls)
        delegation = self._step.verify(read, agent, route, now)
        if delegation.single_uses:  # it hardly ever comes again
            return delegation
        self._known.put(key, _Verified(delegation, now, generation))
        return delegation

    def __len__(self) -> int:
        """Return the number of tokens held, valid or stale; a token used again may count twice."""
        return len(self._known)


def _entry_bytes(key: _Key, _: _Verified) -> int:
    texts = 0
    for header in key[0]:  # this runs for each new token: no generators
        texts += getsizeof(header[1])
    for call in key[2]:
        texts += getsizeof(call.method)
    return ENTRY_BYTES + (1 + CLAIMS_FACTOR) * texts
