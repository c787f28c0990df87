"""Reads agentgateway's messages: a method of MCP becomes a check for each of its targets.

A target is an MCP server behind the gateway. Rules and routes see its name as the host, since the
call goes there; the path is the one at which the client reached the gateway.

The agent's identity is in the metadata, which the gateway's config writes. The client writes the
headers and the params, so these never identify it: headers that identify agents behind other
proxies are left out.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
from google.protobuf.struct_pb2 import Struct, Value

from authz._pb import ext_mcp_pb2 as pb
from authz.core.identity.sources import IDENTITY_HEADERS
from authz.core.protocols import reading
from authz.core.protocols.mcp import LISTENING_UNSEEN
from authz.core.protocols.mcp_methods import LISTEN, METHODS, ListKind, is_notification
from authz.core.protocols.message import HEADERS, Message, MessageInput
from authz.core.request import CallKind, MessageProtocol, Request, credentials_elsewhere
from authz.core.routes import Route
from authz.edge.answered import DecodedCheck
from authz.edge.inputs import (
    COOKIE,
    REQUEST_ID,
    STRIPPED,
    TRACE,
    MessageInputs,
    RequestInputs,
    filter_metadata,
    held,
    valid_traceparent,
)

REQUEST: Final = "agentgateway.request"  # the metadata entry with the client's request
BEFORE: Final = "agentgateway.before"  # the metadata entry with our answer before the call
BEFORE_RPC: Final = "agentgateway.dev.ext_mcp.ExtMcp/CheckRequest"
AFTER_RPC: Final = "agentgateway.dev.ext_mcp.ExtMcp/CheckResponse"
MAX_TARGETS: Final = 64  # each is decided separately
_CHECK_ID: Final = re.compile(r"[0-9a-f]{32}")
# The form of Gateway API's SectionName, which targets are; canonical_host() would turn other names
# into such names.
TARGET: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_PATH: Final = ":path"
MCP: Final = MessageProtocol.MCP
_POST: Final = "POST"  # as MCP sends each message
_NO_MESSAGE: Final = Message(())
# The client's headers about its body do not describe the body that is made here; and its Mcp-Name
# holds the name that the client sees, which may differ from the target's own.
_LEFT_OUT: Final = HEADERS | IDENTITY_HEADERS
_Headers = Iterable[tuple[str, bytes]]


class GuardrailRequest(msgspec.Struct, frozen=True, gc=False):
    """The gateway's question about a call, before the call or after it.

    Attributes:
        method: of JSON-RPC, as sent.
        checks: a check for each target, by its name; an invalid target name becomes "", which no
            rule can match.
        header_names: of the client's request, in lower case.
        is_prefixed: whether the gateway says that names in lists begin with the target's; None if
            that depends on the number of targets.
        strips_token: whether the gateway says that it removes the token itself, after the check.
    """

    method: str
    checks: Mapping[str, DecodedCheck]
    header_names: frozenset[str] = frozenset()
    is_prefixed: bool | None = None
    strips_token: bool = False

    @property
    def listed(self) -> ListKind | None:
        """Return the kind of list that the result is; None if it is not a list."""
        known = METHODS.get(self.method)
        return known.listed if known else None

    def prefixes(self, listed: ListKind) -> bool:
        """Tell whether items of a list are named as a client of several targets sees them.

        The gateway's ``prefixMode: never`` leaves tools and prompts alone, but not URIs.
        """
        has_several = len(self.checks) > 1
        if self.is_prefixed is None or (listed.kind is CallKind.RESOURCE and has_several):
            return has_several
        return self.is_prefixed


class _Presented(msgspec.Struct, frozen=True, gc=False):
    """A call, as all of its targets see it.

    Attributes:
        method: of JSON-RPC.
        has_params: whether the gateway shows the params of the call.
        path: with the query.
        fields: the headers.
        body: the JSON-RPC message, made anew.
        metadata: serialised Structs, by namespace.
        attempt: names the client's request, as in DecodedCheck.
        proxy: the gateway's SPIFFE ID, "" without one.
        rpc: as in DecodedCheck.
        said: what the gateway says of the client's request.
    """

    method: str
    has_params: bool
    path: str
    fields: Sequence["_Field"]
    body: bytes
    metadata: Mapping[str, bytes]
    attempt: bytes
    proxy: str
    rpc: str
    said: Mapping[str, Value]

    @property
    def strips_token(self) -> bool:
        """As in GuardrailRequest."""
        return "strips_token" in self.said and self.said["strips_token"].bool_value


class _Field(NamedTuple):
    """A header, as a HeaderField."""

    key: str
    raw_value: bytes
    value: str = ""


def read_request(
    inputs: RequestInputs, message: pb.McpRequest, check_id: str, proxy: str = ""
) -> GuardrailRequest:
    """Read a call that is to be made. ``check_id`` names this check, and no other."""
    params = message.mcp_request if message.HasField("mcp_request") else None
    headers = [(header.key, header.value) for header in message.headers]
    return _read(inputs, message, _presented(message, params, headers, check_id, proxy))


def read_response(
    inputs: RequestInputs, message: pb.McpResponse, check_id: str, proxy: str = ""
) -> GuardrailRequest:
    """Read a call whose result has arrived. Its headers are in the metadata, if it has any."""
    described = _struct(message.metadata_context.fields.get(REQUEST))
    headers = list(_described_headers(described))
    path = _value_text(described.fields.get("path"))
    if path:
        headers.append((_PATH, path.encode()))
    # Both checks that a gateway makes of one call have the same DPoP proof.
    before = _struct(message.metadata_context.fields.get(BEFORE)).fields
    first_id = _value_text(before.get("decision_id"))
    check_id = first_id if _CHECK_ID.fullmatch(first_id) else check_id
    return _read(inputs, message, _presented(message, None, headers, check_id, proxy))


def _presented(
    message: pb.McpRequest | pb.McpResponse,
    params: bytes | None,
    headers: _Headers,
    check_id: str,
    proxy: str,
) -> _Presented:
    method = message.method.decode("utf-8", "replace")
    body = _body(method, params)
    path, fields = _fields(headers)
    fields.append(_Field("content-type", b"application/json"))
    fields.append(_Field("content-length", b"%d" % len(body)))
    metadata = {
        name: value.struct_value.SerializeToString(deterministic=True)
        for name, value in message.metadata_context.fields.items()
        if name not in (REQUEST, BEFORE) and value.WhichOneof("kind") == "struct_value"
    }
    # Each of our ids is given once. The word distinguishes it from the attempts of another dialect,
    # some of which are our ids too.
    attempt = f"agentgateway {check_id}".encode()
    rpc = BEFORE_RPC if isinstance(message, pb.McpRequest) else AFTER_RPC
    said = _struct(message.metadata_context.fields.get(REQUEST)).fields
    parts = path, fields, body, metadata, attempt, proxy, rpc, said
    return _Presented(method, params is not None, *parts)


def _read(
    inputs: RequestInputs, message: pb.McpRequest | pb.McpResponse, presented: _Presented
) -> GuardrailRequest:
    prefixed = presented.said.get("prefixed")
    return GuardrailRequest(
        presented.method,
        {name: _decoded(inputs, presented, name) for name in _targets(message.service_names)},
        header_names=frozenset([field.key for field in presented.fields]),
        is_prefixed=prefixed.bool_value if prefixed is not None else None,
        strips_token=presented.strips_token,
    )


def _targets(names: Iterable[bytes]) -> list[str]:
    found = [name.decode("utf-8", "replace") for name in names]
    if not 0 < len(found) <= MAX_TARGETS:
        return [""]
    return [name if TARGET.fullmatch(name) else "" for name in found]


def _decoded(inputs: RequestInputs, presented: _Presented, target: str) -> DecodedCheck:
    """Return the call as a check of one target.

    It is a call of MCP, whatever the route says: on a route of another protocol it is refused.
    """
    path, _, query = presented.path.partition("?")
    messages = inputs.messages
    route = messages.route_of(target, path, {}) if messages else None
    reader = inputs.message_headers if route else inputs.headers
    headers, twins = reader.read({}, presented.fields)
    asked = _message(messages, route, presented, headers) if messages and route else _NO_MESSAGE
    cookie = headers.get(COOKIE, "")
    request = Request(
        _POST,
        target,
        path,
        held(tuple([(name, headers[name]) for name in inputs.decisive if name in headers])),
        metadata=inputs.metadata(presented.metadata),
        elsewhere=credentials_elsewhere(query, cookie),
        protocol=MCP,
        calls=asked.calls,
        unread=asked.unread,
        proxy=presented.proxy,
    )
    return DecodedCheck(
        request,
        headers.get(REQUEST_ID, ""),
        valid_traceparent(headers.get(TRACE, "")),
        asked.ids,
        twins,
        presented.attempt,
        presented.rpc,
        presented.rpc == BEFORE_RPC,
    )


def _message(
    messages: MessageInputs, route: Route, presented: _Presented, headers: Mapping[str, str]
) -> Message:
    asked = reading.read(route.protocol, _sent(messages, route, presented, headers))
    if route.protocol is MCP and presented.method == LISTEN and not presented.has_params:
        # The gateway never shows the subscriptions: so the client may listen to anything.
        return Message(LISTENING_UNSEEN, asked.ids)
    if presented.strips_token and messages.exchanges(route, presented.proxy):
        return Message((), asked.ids, STRIPPED)
    return asked


def _sent(
    messages: MessageInputs, route: Route, presented: _Presented, headers: Mapping[str, str]
) -> MessageInput:
    path, _, query = presented.path.partition("?")
    return MessageInput(
        _POST,
        path,
        headers,
        presented.body,
        size=len(presented.body),
        metadata=filter_metadata(messages.profile({}, presented.proxy), presented.metadata),
        trusts_headers=route.trusts_headers,
        reads_arguments=messages.reads_arguments,
        query=query,
        extra_members=route.extra_members,
    )


def _body(method: str, params: bytes | None) -> bytes:
    """Return a JSON-RPC message that means the same as the client's.

    The params go in as they are: the reader of this message refuses doubled and unknown members, so
    that no text can end the params early and go on.
    """
    head = b'{"jsonrpc":"2.0",'
    if not is_notification(method):
        head += b'"id":0,'
    head += b'"method":' + msgspec.json.encode(method)
    return head + b"}" if params is None else head + b',"params":' + params + b"}"


def _fields(headers: _Headers) -> tuple[str, list[_Field]]:
    """Return the client's headers, and its path: "/" if it sent none, "" if it sent several."""
    paths: list[str] = []
    fields: list[_Field] = []
    for key, value in headers:
        name = key.lower()
        if name == _PATH:
            paths.append(value.decode("utf-8", "replace"))
        elif name not in _LEFT_OUT and not name.startswith(":"):
            fields.append(_Field(name, value))
    return (paths or ["/"])[0] if len(paths) <= 1 else "", fields


def _described_headers(described: Struct) -> _Headers:
    """Yield each header of ``request.headers``, which has a list for a repeated header."""
    for name, value in _struct(described.fields.get("headers")).fields.items():
        for text in value.list_value.values if value.HasField("list_value") else [value]:
            yield name, _value_text(text).encode()


def _struct(value: Value | None) -> Struct:
    return value.struct_value if value is not None else Struct()


def _value_text(value: Value | None) -> str:
    return value.string_value if value is not None else ""
