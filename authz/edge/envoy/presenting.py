"""Presents a CheckRequest, without any secret, for ``authz doctor``."""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Final

import msgspec

from authz._pb import ext_authz_pb2 as pb
from authz.core.request import XFCC, Request
from authz.edge.answered import Answered
from authz.edge.clock import Moment
from authz.edge.envoy.reader import CONTENT_LENGTH
from authz.edge.faults import log_fault
from authz.edge.inputs import MAX_REQUEST_BYTES, TRACE
from authz.edge.presentation import (
    EXT_AUTHZ,
    MAX_NAMES,
    BodySeen,
    Presentation,
    shown_id,
    shown_method,
    shown_names,
)
from authz.edge.presenting import Sight, decision_of, headers_seen, kind_of, xfcc_seen
from authz.edge.service import CheckService
from authz.edge.snapshot import Snapshot

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_PARTIAL: Final = "x-envoy-auth-partial-body"
# Read of all headers at most, to find those below: a proxy's limit is some hundred.
_MAX_READ: Final = 4 * MAX_NAMES
_READ: Final = frozenset({XFCC, CONTENT_LENGTH, _PARTIAL, TRACE})
_NUMBER: Final = re.compile(r"[0-9]{1,18}")
_DECIMAL: Final = re.compile(r"[0-9]{1,20}")
# As agentgateway has it: 32 characters, or all of a traceparent.
_HEX: Final = re.compile(r"[0-9a-f]{32}|[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def note_check(
    service: CheckService, snapshot: Snapshot, data: bytes, answered: Answered, begun: Moment
) -> None:
    """Present a check that was decided, if its kind is due. Never raises, never waits."""
    try:
        request = answered.check.request
        key = kind_of(EXT_AUTHZ, request, snapshot.authorizer.routes)
        now, monotonic = begun
        if service.presentations.wants(key, len(data), monotonic):
            message = pb.CheckRequest.FromString(data)
            decision = decision_of(answered.rendered.reason)
            seen = present_check(Sight.of(snapshot), message, request, now, decision)
            service.presentations.keep(key, seen)
    except Exception as error:  # noqa: BLE001 - the answer is made, and must go out
        log_fault(error)


def present_check(
    sight: Sight, message: pb.CheckRequest, request: Request, now: float, decision: str = ""
) -> Presentation:
    """Return the presentation of a message, and of the request that was read of it."""
    attributes = message.attributes
    http, extensions = attributes.request.http, attributes.context_extensions
    names, read = _headers(http)
    form = "raw" if http.HasField("header_map") else "joined" if len(http.headers) else "none"
    count = len(http.headers) + len(http.header_map.headers)
    seen = sight.seen(EXT_AUTHZ, request, now)
    identity = msgspec.structs.replace(seen.identity, xfcc=xfcc_seen(read.get(XFCC)))
    return msgspec.structs.replace(
        seen,
        method=shown_method(http.method, _METHODS),
        identity=identity,
        headers=headers_seen(form, names, count, sight.credentials),
        body=_body(http, read),
        extensions=shown_names(extensions),
        max_request_bytes=shown_id(extensions.get(MAX_REQUEST_BYTES, "")),
        namespaces=shown_names(attributes.metadata_context.filter_metadata),
        id_form=_id_form(http.id),
        has_time=bool(attributes.request.time.seconds or attributes.request.time.nanos),
        has_trace=TRACE in read,
        decision=decision,
    )


def _headers(http: pb.HttpRequest) -> tuple[list[str], dict[str, str]]:
    """Return the names of the headers, and the few values that are looked at."""
    names: list[str] = []
    read: dict[str, str] = {}
    for name, value in islice(_pairs(http), _MAX_READ):
        names.append(name)
        if name.lower() in _READ:
            known = read.get(name.lower())
            read[name.lower()] = value if known is None else f"{known},{value}"
    return names, read


def _pairs(http: pb.HttpRequest) -> Iterator[tuple[str, str]]:
    yield from http.headers.items()
    for header in http.header_map.headers:
        yield header.key, header.value or header.raw_value.decode("utf-8", "replace")


def _body(http: pb.HttpRequest, read: dict[str, str]) -> BodySeen:
    announced, partial = read.get(CONTENT_LENGTH), read.get(_PARTIAL)
    length = None
    if announced is not None:
        length = int(announced) if _NUMBER.fullmatch(announced) else -1
    return BodySeen(
        form="raw" if http.raw_body else "text" if http.body else "none",
        bytes=len(http.raw_body) or len(http.body.encode()),
        size=http.size,
        content_length=length,
        is_partial=None if partial is None else partial == "true",
    )


def _id_form(text: str) -> str:
    if not text:
        return ""
    if _DECIMAL.fullmatch(text):
        return "decimal"
    return "hex" if _HEX.fullmatch(text) else "other"
