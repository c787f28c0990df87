"""Reads Envoy's CheckRequest as a DecodedCheck.

This runs for every request. Each access to a protobuf message makes a Python object, so nothing is
read twice. There are two steps, because an agent's requests mostly differ in their values alone
(``authz.edge.envoy.known_messages``): reading the presented request, and making the check of it.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from authz._pb import ext_authz_pb2 as pb
from authz.core.protocols import reading
from authz.core.protocols.message import HEADERS, Message, MessageInput
from authz.core.request import DPOP, MessageProtocol, Request, credentials_elsewhere
from authz.core.routes import Route
from authz.edge.answered import DecodedCheck
from authz.edge.inputs import (
    COOKIE,
    REQUEST_ID,
    TRACE,
    MessageInputs,
    RequestInputs,
    filter_metadata,
    held,
    limit_of_bodies,
    valid_traceparent,
)

AUTHORIZATION: Final = "authorization"
CONTENT_LENGTH: Final = "content-length"
# Bound once: access through the enum takes four times as long.
_UNREAD: Final = MessageProtocol.NONE
_PLAIN: Final = Message(())  # for a route on which no message is read
_NO_HEADERS: Final[Mapping[str, str]] = {}


class Values(msgspec.Struct, frozen=True, gc=False):
    """The values that are new in nearly every request.

    Attributes:
        target: the path with the query.
        authorization: the header, if decisions read it and it was sent.
        request_id, traceparent: as in DecodedCheck.
        body, size, content_length: of the message, on a route on which messages are read: the part
            of the body that the proxy sent, the number of bytes that it counted, and the header.
    """

    target: str
    authorization: str | None = None
    request_id: str = ""
    traceparent: str = ""
    body: bytes = b""
    size: int = 0
    content_length: str | None = None


class Presented(msgspec.Struct, frozen=True, gc=False):
    """Everything else that is read of a CheckRequest. Most of it goes into the Request unchanged.

    Attributes:
        headers: as in Request, without ``authorization``.
        route: the route if messages are read on it, else None.
        message_headers: the headers that readers of messages read, without content-length.
        is_text, mcp_metadata, max_bytes: of the message, as in MessageInput.
        cookie: the header.
        twins, attempt: as in DecodedCheck.
    """

    method: str
    host: str
    headers: tuple[tuple[str, str], ...]
    principal: str
    certificate: str
    context: tuple[tuple[str, str], ...]
    metadata: tuple[tuple[str, bytes], ...]
    proxy: str
    twins: tuple[str, ...]
    cookie: str
    attempt: bytes
    route: Route | None = None
    message_headers: Mapping[str, str] = _NO_HEADERS
    is_text: bool = False
    mcp_metadata: bytes | None = None
    max_bytes: int | None = None


def read_check(inputs: RequestInputs, message: pb.CheckRequest, proxy: str = "") -> DecodedCheck:
    """Return the request as the proxy presented it. Never fails: an absent value is empty."""
    return to_check(inputs, *present(inputs, message, proxy))


def present(
    inputs: RequestInputs, message: pb.CheckRequest, proxy: str = ""
) -> tuple[Presented, Values]:
    """Return the request that a message presents, and its values. Never fails either."""
    attributes = message.attributes
    context = attributes.context_extensions
    extensions = dict(context) if len(context) else {}
    route = None
    if inputs.messages is not None:
        http = attributes.request.http
        route = route_of(inputs.messages, http.host, http.path, extensions)
    return present_on(inputs, message, route, extensions, proxy)


def route_of(
    messages: MessageInputs, host: str, target: str, extensions: Mapping[str, str]
) -> Route | None:
    """Return a request's route, if messages are read on it."""
    return messages.route_of(host, target.partition("?")[0], extensions)


def present_on(
    inputs: RequestInputs,
    message: pb.CheckRequest,
    route: Route | None,
    extensions: Mapping[str, str],
    proxy: str,
) -> tuple[Presented, Values]:
    """Return the presented request on this route, with these context extensions."""
    attributes = message.attributes
    source, http = attributes.source, attributes.request.http
    fields = http.header_map.headers if http.HasField("header_map") else ()
    reader = inputs.headers if route is None else inputs.message_headers
    headers, twins = reader.read(http.headers, fields)
    trace = valid_traceparent(headers[TRACE]) if TRACE in headers else ""
    values = Values(http.path, headers.get(AUTHORIZATION), headers.get(REQUEST_ID, ""), trace)
    presented = Presented(
        http.method,
        http.host,
        tuple(
            [
                (name, headers[name])
                for name in inputs.decisive
                if name in headers and name != AUTHORIZATION
            ]
        ),
        source.principal,
        held(source.certificate),
        tuple(sorted(extensions.items())) if extensions else (),
        inputs.metadata(attributes.metadata_context.filter_metadata) if inputs.namespaces else (),
        proxy,
        twins,
        headers.get(COOKIE, ""),
        _attempt(attributes) if DPOP in headers else b"",  # the one single-use proof
    )
    if route is None or inputs.messages is None:
        return presented, values
    body, metadata = http.raw_body, attributes.metadata_context.filter_metadata
    profile = inputs.messages.profile(extensions, proxy)
    read = {name: headers[name] for name in HEADERS if name in headers}
    content_length = read.pop(CONTENT_LENGTH, None)
    return msgspec.structs.replace(
        presented,
        route=route,
        is_text=not body,
        mcp_metadata=filter_metadata(profile, metadata),
        max_bytes=limit_of_bodies(profile, extensions),
        message_headers=read,
    ), msgspec.structs.replace(
        values, body=body or http.body.encode(), size=http.size, content_length=content_length
    )


def to_check(inputs: RequestInputs, presented: Presented, values: Values) -> DecodedCheck:
    """Return the check that a message makes."""
    path, _, query = values.target.partition("?")
    route, messages, cookie = presented.route, inputs.messages, presented.cookie
    asked, protocol = _PLAIN, _UNREAD
    if route is not None and messages is not None:
        protocol = route.protocol
        sent = _sent(messages, presented, values, route, path=path, query=query)
        asked = reading.read(protocol, sent)
    headers = presented.headers
    if values.authorization is not None:  # in the order of names, as a Request has them
        headers = tuple(sorted((*headers, (AUTHORIZATION, values.authorization))))
    request = Request(
        presented.method,
        presented.host,
        path,
        held(headers),
        presented.principal,
        presented.certificate,
        presented.context,
        presented.metadata,
        credentials_elsewhere(query, cookie) if query or cookie else (),
        protocol,
        asked.calls,
        asked.unread,
        presented.proxy,
    )
    return DecodedCheck(
        request,
        values.request_id,
        values.traceparent,
        asked.ids,
        presented.twins,
        presented.attempt,
    )


def _sent(
    messages: MessageInputs,
    presented: Presented,
    values: Values,
    route: Route,
    *,
    path: str,
    query: str,
) -> MessageInput:
    """Return the message as the proxy presented it."""
    headers = presented.message_headers
    if values.content_length is not None:
        headers = {**headers, CONTENT_LENGTH: values.content_length}
    return MessageInput(
        presented.method,
        path,
        headers,
        values.body,
        is_text=presented.is_text,
        size=values.size,
        max_bytes=presented.max_bytes,
        metadata=presented.mcp_metadata,
        trusts_headers=route.trusts_headers,
        reads_arguments=messages.reads_arguments,
        query=query,
        extra_members=route.extra_members,
    )


def with_attempt(check: DecodedCheck, data: bytes) -> DecodedCheck:
    """Return the check with the name of its request, from the message: its token may be for one.

    Raises DecodeError.
    """
    if check.attempt:
        return check
    attributes = pb.CheckRequest.FromString(data).attributes
    return msgspec.structs.replace(check, attempt=_attempt(attributes))


def _attempt(attributes: pb.AttributeContext) -> bytes:
    """Return a name of the HTTP request, empty if the proxy gives no certain name.

    It is the proxy's id of the stream with the time when the stream began, to the nanosecond.
    Neither is enough alone: by Envoy's API the id may be a client's own ``x-request-id``, and many
    requests may begin at the same time.
    """
    request = attributes.request
    began = request.time
    if not request.http.id or not (began.seconds or began.nanos):
        return b""
    return f"{request.http.id} {began.seconds} {began.nanos}".encode()
