"""Reads Envoy's CheckRequest as a DecodedCheck.

This runs for every request. Each access to a protobuf message makes a Python object, so nothing is
read twice.
"""

import re
from collections.abc import Mapping
from typing import Final

from authz._pb import ext_authz_pb2 as pb
from authz.core import protocols
from authz.core.request import DPOP, MessageProtocol, Request, credentials_elsewhere
from authz.core.routes import Route
from authz.edge.answered import DecodedCheck
from authz.edge.inputs import (
    COOKIE,
    REQUEST_ID,
    TRACE,
    MessageInputs,
    RequestInputs,
    held,
    trace_id_of,
)

MAX_REQUEST_BYTES: Final = "authz_max_request_bytes"  # the context extension with that limit
_NUMBER: Final = re.compile(r"[0-9]{1,12}")
_UNREAD: Final = MessageProtocol.NONE  # bound once: of the enum it takes four times as long
_PLAIN: Final = protocols.Message(())  # for a route where no message is read


def read_check(inputs: RequestInputs, message: pb.CheckRequest, proxy: str = "") -> DecodedCheck:
    """Return the request as the proxy presented it. Never fails: what is absent is empty."""
    attributes = message.attributes
    source, http = attributes.source, attributes.request.http
    path, _, query = http.path.partition("?")
    host = http.host
    context = attributes.context_extensions
    extensions = dict(context) if len(context) else {}
    messages = inputs.messages
    route = messages.route_of(host, path, extensions) if messages else None
    fields = http.header_map.headers if http.HasField("header_map") else ()
    if messages is None or route is None:
        headers, twins = inputs.headers.read(http.headers, fields)
        asked = _PLAIN
    else:
        headers, twins = inputs.message_headers.read(http.headers, fields)
        sent = _sent(messages, route, attributes, headers, extensions=extensions, proxy=proxy)
        asked = protocols.read(route.protocol, sent)
    cookie = headers.get(COOKIE, "")
    request = Request(
        http.method,
        host,
        path,
        held(tuple([(name, headers[name]) for name in inputs.decisive if name in headers])),
        source.principal,
        held(source.certificate),
        tuple(sorted(extensions.items())) if extensions else (),
        inputs.metadata(attributes.metadata_context.filter_metadata) if inputs.namespaces else (),
        credentials_elsewhere(query, cookie) if query or cookie else (),
        route.protocol if route else _UNREAD,
        asked.calls,
        asked.unread,
        proxy,
    )
    attempt = _attempt(attributes) if DPOP in headers else b""  # the one single-use proof
    trace_id = trace_id_of(headers[TRACE]) if TRACE in headers else ""
    request_id = headers.get(REQUEST_ID, "")
    return DecodedCheck(request, request_id, trace_id, asked.ids, twins, attempt)


def _sent(
    messages: MessageInputs,
    route: Route,
    attributes: pb.AttributeContext,
    headers: Mapping[str, str],
    *,
    extensions: Mapping[str, str],
    proxy: str,
) -> protocols.MessageInput:
    """Return the message as the proxy presented it."""
    http = attributes.request.http
    path, _, query = http.path.partition("?")
    return protocols.MessageInput(
        http.method,
        path,
        headers,
        http.raw_body or http.body.encode(),
        is_text=not http.raw_body,
        size=http.size,
        max_bytes=_limit(extensions.get(MAX_REQUEST_BYTES, "")),
        metadata=messages.metadata_of(
            attributes.metadata_context.filter_metadata, extensions, proxy
        ),
        trusts_headers=route.trusts_headers,
        reads_arguments=messages.reads_arguments,
        query=query,
        extra_members=route.extra_members,
    )


def _limit(text: str) -> int | None:
    """Return the proxy's limit of bodies, None if not set. A malformed limit is 0: no body fits."""
    if not text:
        return None
    return int(text) if _NUMBER.fullmatch(text) else 0


def _attempt(attributes: pb.AttributeContext) -> bytes:
    """Return a name of the HTTP request, empty where the proxy gives no certain one.

    It is the proxy's id of the stream with the time when the stream began, to the nanosecond.
    Neither will do alone: by Envoy's API the id may be a client's own ``x-request-id``, and many
    requests may begin at the same time.
    """
    request = attributes.request
    began = request.time
    if not request.http.id or not (began.seconds or began.nanos):
        return b""
    return f"{request.http.id} {began.seconds} {began.nanos}".encode()
