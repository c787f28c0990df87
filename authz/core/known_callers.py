"""A cache of callers: the results of steps 1 and 2, for requests with the same credentials.

A caller makes many requests with one certificate and one token. The two steps return the same for
them until one of them expires or a key changes, so a known caller on a new path costs one look-up.
The cache's key holds everything that the steps read of a request except a DPoP proof. A request
with a proof always goes through the steps, since a proof is for one request (RFC 9449 section 4.3).
What the upstream gets for the token is kept beside the results: profile and route, which say that,
are in the key as well.
"""

from typing import Final

import msgspec

from authz.core.bounded_map import BoundedMap, Generation
from authz.core.decision import Agent, Delegation
from authz.core.request import DPOP, Request
from authz.core.routes import Route
from authz.core.upstream_token import STRIPPED, Upstream

_CALLERS: Final = 10_000  # in use within seconds, as for rendered decisions
_ENTRY_BYTES: Final = 400  # measured: the key without its texts, dict slots, the entry

CallerKey = tuple[int, tuple[object, ...]]
"""The generation of keys, and everything that the two steps read of a request and its route."""


class Caller(msgspec.Struct, frozen=True, gc=False):
    """A caller by the results of steps 1 and 2.

    Attributes:
        flags: policy's findings about the delegation.
        upstream: what the upstream gets for the token.
    """

    agent: Agent
    delegation: Delegation
    flags: tuple[str, ...]
    upstream: Upstream = STRIPPED


class _Known(msgspec.Struct, frozen=True, gc=False):
    """A caller, with the times (unix seconds) between which the steps surely return the same."""

    caller: Caller
    since: float
    until: float
    size: int


class KnownCallers:
    """A bounded map of the callers that the two steps established. Refusals are not kept."""

    def __init__(self, keys: Generation, *, entries: int, max_bytes: int) -> None:
        """Begin empty; a change of ``keys`` makes all entries stale. 0 entries for no memory."""
        self._keys = keys
        self._known: BoundedMap[CallerKey, _Known]
        self._known = BoundedMap(min(entries, _CALLERS), max_bytes, lambda _, known: known.size)

    def key(self, request: Request, route: Route) -> CallerKey:
        """Return the key of a request's caller, before the steps.

        A change of keys must show.
        """
        calls = route.bootstrap_calls(request) if route.bootstrap else ()
        return self._keys.generation, (
            request.headers,
            request.elsewhere,
            calls,
            request.principal,
            request.certificate,
            request.metadata,
            request.context,
            request.proxy,
            route.name,
        )

    def get(self, key: CallerKey, now: float) -> Caller | None:
        """Return the key's caller, if the steps would surely return it now (unix seconds)."""
        known = self._known.get(key)
        # Nor is it used before it was established: if the clock was set back, the steps run again.
        if known is None or not known.since <= now < known.until:
            return None
        return known.caller

    def put(self, key: CallerKey, request: Request, caller: Caller, now: float) -> None:
        """Remember a caller established now, if only time and keys can make the steps differ."""
        agent = caller.agent
        if request.header(DPOP) is not None or caller.delegation.single_uses:
            return
        if request.certificate and request.principal != agent.spiffe_id.text:
            return  # it may be a proxy's certificate, whose end ``expires_at`` does not include
        until = min(agent.expires_at, caller.delegation.expires_at)
        self._known.put(key, _Known(caller, now, until, _bytes(request)))


def _bytes(request: Request) -> int:
    """Return the bytes of an entry; nearly all of them are the request's texts."""
    pairs = (*request.headers, *request.context, *request.metadata)
    texts = len(request.certificate) + sum(len(value) for _, value in pairs)
    return _ENTRY_BYTES + texts + sum(len(call.method) for call in request.calls)
