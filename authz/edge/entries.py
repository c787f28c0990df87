"""Builds cache entries of decisions: rendered, with the record's operation and a time to live."""

from functools import lru_cache
from typing import Final

from authz.adapters.audit.records.record import AuditOperation, encode_operation, encode_text
from authz.adapters.audit.records.redaction import Parties
from authz.core.decision import Allow, Decision, Progress
from authz.core.paths import MAX_PATH_BYTES
from authz.core.reason import DPOP_SCHEME, Denied, Reason
from authz.core.request import (
    MAX_HOST_BYTES,
    MAX_METHOD_CHARS,
    Call,
    CallKind,
    MessageProtocol,
    Request,
)
from authz.core.routes import ROUTE
from authz.edge.cache import CacheEntry
from authz.edge.cache_settings import CacheSettings
from authz.edge.clock import Moment
from authz.edge.consuming import takes_any
from authz.edge.rendering import NO_OPERATION, RenderedDecision
from authz.edge.snapshot import Snapshot

_TARGETS: Final = 1024  # hosts and methods in use; some 1 KB each
# Refusals that end without any change that the cache sees: a key is published, time passes, or the
# request that used an approval is tried again.
_PASSING: Final = frozenset(
    {Reason.TOKEN_KEY_UNKNOWN, Reason.BUDGET_EXHAUSTED, Reason.APPROVAL_REQUIRED}
)
_PATH: Final = b'"path":'
_NO_TEXT: Final = encode_text("")
_NOTHING: Final = encode_operation(NO_OPERATION)


def _ttl(decision: Decision, settings: CacheSettings) -> float:
    """Return the seconds to cache a decision, 0 if another try could change it at once."""
    if isinstance(decision, Allow):
        return 0.0 if takes_any(decision) else settings.ttl
    if decision.scheme == DPOP_SCHEME:  # about a proof, which is for one request
        return 0.0
    if decision.reason is Reason.TOKEN_USED:  # but not by a retry of the request that used it
        return 0.0
    if decision.reason.is_own_fault or decision.reason in _PASSING:
        return 0.0
    return settings.deny_ttl


def build_entry(
    snapshot: Snapshot,
    request: Request,
    decision: Decision,
    begun: Moment,
    generation: int,
) -> CacheEntry:
    """Return the decision's entry, whose time to live counts from the start of the decision."""
    now, monotonic = begun
    ttl = _ttl(decision, snapshot.cache_settings)
    # The proxy's clock may be behind: for what nobody may reuse, this moment would be to come.
    valid_until = now + ttl if ttl else 0.0
    if isinstance(decision, Allow):
        valid_until = min(valid_until, decision.valid_until)
    rendered, operation = _told(snapshot, request, decision)
    return CacheEntry(rendered, operation, valid_until, monotonic + ttl, generation)


def _told(
    snapshot: Snapshot, request: Request, decision: Decision
) -> tuple[RenderedDecision, bytes]:
    """Return the rendered decision, and the record's operation."""
    renderer, recorded = snapshot.renderer, snapshot.recorded_headers
    if renderer.redaction is None:
        rendered = renderer.render(decision, request.protocol)
        return rendered, encoded_operation(request, recorded)
    operation = _operation(request, recorded)
    rendered = renderer.render(decision, request.protocol, operation)
    redacted = renderer.redaction.operation(operation, _parties(decision))
    return rendered, encode_operation(redacted)


def _parties(decision: Decision) -> Parties:
    agent, delegation = decision.agent, decision.delegation
    name = agent.spiffe_id.text if agent else ""
    if delegation is None:
        return Parties(name)
    return Parties(name, delegation.subject, tuple(actor.subject for actor in delegation.actors))


def encoded_operation(request: Request, recorded: frozenset[str]) -> bytes:
    """Return the record's operation."""
    if recorded or request.calls:
        return encode_operation(_operation(request, recorded))
    method, host, path = _target(request)
    before, after = _around(method, host, request.proxy, request.context, request.protocol)
    return before + encode_text(path) + after


def _target(request: Request) -> tuple[str, str, str]:
    """Return method, host and path for the record.

    A value that is too long keeps one character above its limit, so that it is also refused when it
    is read from the record.
    """
    return (
        request.method[: MAX_METHOD_CHARS + 1],
        request.host[: MAX_HOST_BYTES + 1],
        request.path[: MAX_PATH_BYTES + 1],
    )


def _operation(request: Request, recorded: frozenset[str]) -> AuditOperation:
    return AuditOperation(
        *_target(request),
        request.proxy,
        request.context_value(ROUTE),
        _recorded_headers(request, recorded),
        request.protocol,
        tuple([_recorded(call) for call in request.calls]),
    )


@lru_cache(_TARGETS)
def _around(
    method: str,
    host: str,
    proxy: str,
    context: tuple[tuple[str, str], ...],
    protocol: MessageProtocol,
) -> tuple[bytes, bytes]:
    """Return the parts before and after the path in an operation: they repeat again and again."""
    route = dict(context).get(ROUTE, "")
    operation = encode_operation(AuditOperation(method, host, "", proxy, route, {}, protocol))
    before, name, after = operation.partition(_PATH)  # every quote in a text is escaped
    return before + name, after.removeprefix(_NO_TEXT)


def _recorded_headers(request: Request, names: frozenset[str]) -> dict[str, str]:
    if not names:
        return {}
    return {name: value for name, value in request.headers if name in names}


def _recorded(call: Call) -> dict[str, object]:
    """Return a call for the audit record: without its arguments and a name's secret parts."""
    name = call.shown_name
    named: dict[str, object] = {"method": call.method, "kind": call.kind, "name": name}
    if name != call.name:
        named["is_cut"] = True
    if call.kind is not CallKind.MODEL:
        return named
    return {**named, "tools": call.tools, "streaming": call.is_streaming}


def build_refusal(
    snapshot: Snapshot, protocol: MessageProtocol, reason: Reason, detail: str
) -> CacheEntry:
    """Return the entry of a refusal without decision or operation, which is not cached."""
    deny = Progress().refuse(Denied(reason, detail))
    return CacheEntry(snapshot.renderer.render(deny, protocol), _NOTHING, 0.0)
