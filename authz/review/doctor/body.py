"""Finds bodies that a proxy does not send, cuts, or changes, where messages are read."""

import re
from collections.abc import Iterator
from typing import Final

from authz.core.request import MessageProtocol
from authz.edge.inputs import MAX_REQUEST_BYTES
from authz.review.doctor.case import Case, Finding

_NUMBER: Final = re.compile(r"[0-9]{1,12}")
_GATEWAY_BODY: Final = "bodyToExtAuth.maxRequestBytes in SecurityPolicy extAuth"
_BODYLESS: Final = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})


def body_findings(case: Case) -> Iterator[Finding]:
    """Yield what is wrong with the body."""
    if not case.is_ext_authz:
        return
    yield from _malformed_limit(case)
    seen = case.seen
    if not seen.messages:
        if seen.body.bytes:
            cause = "the proxy sends bodies here, and no route reads them: that only costs time"
            here = "give the route its protocol, if its messages are to be read"
            yield case.note("body_unread", cause, here=here)
        return
    if seen.body.form == "none":
        yield from _missing(case)
        return
    yield from _cut(case)
    yield from _unbounded(case)
    if seen.body.form == "text":
        yield from _text(case)


def _malformed_limit(case: Case) -> Iterator[Finding]:
    text = case.seen.max_request_bytes
    if text and not _NUMBER.fullmatch(text):
        yield case.error(
            "limit_malformed",
            f"{MAX_REQUEST_BYTES} is {text!r} and not a number of bytes: no body fits it",
            envoy=f'write {MAX_REQUEST_BYTES}: "65536", the same as max_request_bytes',
            envoy_gateway=f'write {MAX_REQUEST_BYTES} as in "65536", the same as maxRequestBytes',
            agentgateway=f"write {MAX_REQUEST_BYTES} as in '\"65536\"', as in maxRequestBytes",
        )


def _missing(case: Case) -> Iterator[Finding]:
    route, seen = case.route, case.seen
    if seen.method in _BODYLESS or seen.body.content_length == 0:
        return
    if route is not None and (route.trust_mcp_headers or _has_metadata(case)):
        return
    yield case.error(
        "body_missing",
        f"the route's protocol is {seen.messages}, and the proxy sent no body: its messages are "
        "refused (body_uninspectable)",
        envoy="the route's check_settings need with_request_body: {max_request_bytes: 65536}, and "
        "the filter its own with pack_as_bytes: true",
        istio="the provider needs includeRequestBodyInCheck: {maxRequestBytes: 65536, "
        "allowPartialMessage: true, packAsBytes: true}",
        envoy_gateway=f"set {_GATEWAY_BODY}",
        agentgateway="extAuthz needs includeRequestBody: {maxRequestBytes: 65536, "
        "packAsBytes: true}",
    )


def _has_metadata(case: Case) -> bool:
    namespace = case.profile.mcp_metadata if case.profile is not None else None
    return case.seen.messages == MessageProtocol.MCP and namespace in case.seen.namespaces


def _limit(case: Case) -> int | None:
    """Return the limit of bodies that the proxy or the profile names."""
    text = case.seen.max_request_bytes
    if text:
        return int(text) if _NUMBER.fullmatch(text) else 0
    return case.profile.max_request_bytes if case.profile is not None else None


def _cut(case: Case) -> Iterator[Finding]:
    body, limit = case.seen.body, _limit(case)
    is_short = body.content_length is not None and body.content_length > body.bytes
    if not (body.is_partial or body.size < 0 or is_short or (limit and body.bytes >= limit)):
        return
    yield case.error(
        "body_cut",
        f"the proxy sent {body.bytes} bytes of a longer body, or of one that fills its limit: such "
        "a message is refused (body_truncated)",
        envoy=f"raise max_request_bytes of with_request_body, and {MAX_REQUEST_BYTES} with it; "
        "allow_partial_message: false answers 413 instead",
        istio="raise maxRequestBytes of includeRequestBodyInCheck",
        envoy_gateway=f"raise {_GATEWAY_BODY}, and {MAX_REQUEST_BYTES} with it",
        agentgateway=f"raise maxRequestBytes of includeRequestBody and {MAX_REQUEST_BYTES}",
        here="if the profile names max_request_bytes, raise it too",
    )


def _unbounded(case: Case) -> Iterator[Finding]:
    if case.seen.body.content_length is not None or _limit(case) is not None:
        return
    yield case.error(
        "body_unbounded",
        "a body came without content-length, and nothing names the proxy's limit: it could be cut, "
        "and is refused (body_uninspectable)",
        envoy=f'context_extensions need {MAX_REQUEST_BYTES}: "65536", the same as '
        "max_request_bytes",
        envoy_gateway=f"contextExtensions of extAuth need {MAX_REQUEST_BYTES}, the same as "
        "maxRequestBytes",
        istio="it can't send context extensions: set the limit in the profile, see below",
        agentgateway=f"context needs {MAX_REQUEST_BYTES}, the same as maxRequestBytes",
        here=f"or set profiles.{case.seen.profile}.max_request_bytes to the proxy's limit",
    )


def _text(case: Case) -> Iterator[Finding]:
    yield case.warning(
        "body_text",
        "the body came as text, in which bytes that are not UTF-8 are replaced: a message that "
        "holds some is refused",
        envoy="set pack_as_bytes: true in with_request_body of the filter itself: Envoy ignores it "
        "in a route's",
        istio="set packAsBytes: true in includeRequestBodyInCheck",
        envoy_gateway="it has no such setting; an EnvoyPatchPolicy can add pack_as_bytes: true",
        agentgateway="set packAsBytes: true in includeRequestBody",
    )
