"""Reads what agentgateway asks: a method of MCP made into ext_authz checks, one for each target.

A target is an MCP server behind the gateway. Its name is the host that rules and routes see, for it
is what the call goes to; the path is the one at which the client reached the gateway.

Who the agent is stands in the metadata, which the gateway's config writes. What the client writes
is headers and params, and none of it is an identity: headers that are one elsewhere are left out.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
from google.protobuf.struct_pb2 import Struct, Value

from authz._pb import ext_authz_pb2 as ext
from authz._pb import ext_mcp_pb2 as pb
from authz.core import protocols
from authz.core.identity import IDENTITY_HEADERS
from authz.core.protocols.mcp_methods import METHODS, Listed, is_notification

REQUEST: Final = "agentgateway.request"  # the metadata entry with the client's request
BEFORE: Final = "agentgateway.before"  # and that with what was answered before the call
MAX_TARGETS: Final = 64  # each is decided by itself
_CHECK_ID: Final = re.compile(r"[0-9a-f]{32}")
# As Gateway API's SectionName, which these are; canonical_host() would make others into these.
_TARGET: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_PATH: Final = ":path"
RESOURCE: Final = "resource"
# What the client's HTTP request says of its body is not true of the body that is made here; and its
# Mcp-Name has the name as the client sees it, which need not be the target's own.
_LEFT_OUT: Final = protocols.HEADERS | IDENTITY_HEADERS
_Headers = Iterable[tuple[str, bytes]]


class Asked(msgspec.Struct, frozen=True, gc=False):
    """What the gateway asks about, whether before a call or after it.

    Attributes:
        method: of JSON-RPC, as sent.
        checks: one for each target, by its name; a name that is none is "", which nothing allows.
        header_names: of the client's request, in lower case.
        has_params: whether the gateway shows the params of the call.
        is_prefixed: whether the gateway says that names in lists begin with the target's; None
            where it leaves that to the number of targets.
        strips_token: whether the gateway says that it takes the token away itself, after us.
    """

    method: str
    checks: Mapping[str, ext.CheckRequest]
    header_names: frozenset[str] = frozenset()
    has_params: bool = False
    is_prefixed: bool | None = None
    strips_token: bool = False

    @property
    def listed(self) -> Listed | None:
        """What the result lists, if it is a list."""
        known = METHODS.get(self.method)
        return known.listed if known else None

    def prefixes(self, listed: Listed) -> bool:
        """Tell whether items of a list are named as a client of several targets sees them.

        The gateway's ``prefixMode: never`` leaves tools and prompts alone, but not URIs.
        """
        has_several = len(self.checks) > 1
        if self.is_prefixed is None or (listed.kind == RESOURCE and has_several):
            return has_several
        return self.is_prefixed


def read_request(message: pb.McpRequest, check_id: str) -> Asked:
    """A call that is to be made. ``check_id`` names this check, and no other."""
    params = message.mcp_request if message.HasField("mcp_request") else None
    headers = [(header.key, header.value) for header in message.headers]
    return _asked(message, params, headers, check_id)


def read_response(message: pb.McpResponse, check_id: str) -> Asked:
    """A call that was made, whose result has come. Its headers are in the metadata, or nowhere."""
    described = _struct(message.metadata_context.fields.get(REQUEST))
    headers = list(_described_headers(described))
    path = _text(described.fields.get("path"))
    if path:
        headers.append((_PATH, path.encode()))
    # One DPoP proof comes with both of the checks that a gateway makes of one call.
    before = _struct(message.metadata_context.fields.get(BEFORE)).fields
    first_id = _text(before.get("decision_id"))
    return _asked(message, None, headers, first_id if _CHECK_ID.fullmatch(first_id) else check_id)


def _asked(
    message: pb.McpRequest | pb.McpResponse,
    params: bytes | None,
    headers: _Headers,
    check_id: str,
) -> Asked:
    method = message.method.decode("utf-8", "replace")
    body = _body(method, params)
    check = ext.CheckRequest()
    http = check.attributes.request.http
    # These name the use of a DPoP proof, so that none is used for two checks. As an id of ours is
    # given once, any time will do: none has to tell two of one id apart.
    http.id = check_id
    check.attributes.request.time.seconds = 1
    http.method = "POST"  # as MCP sends each message
    http.path = _add_headers(http, headers)
    http.header_map.headers.add(key="content-type", raw_value=b"application/json")
    http.header_map.headers.add(key="content-length", raw_value=b"%d" % len(body))
    http.raw_body, http.size = body, len(body)
    metadata = check.attributes.metadata_context.filter_metadata
    for name, value in message.metadata_context.fields.items():
        if name not in (REQUEST, BEFORE) and value.WhichOneof("kind") == "struct_value":
            metadata[name] = value.struct_value.SerializeToString(deterministic=True)
    described = _struct(message.metadata_context.fields.get(REQUEST)).fields
    prefixed = described.get("prefixed")
    return Asked(
        method,
        {name: _for(check, name) for name in _targets(message.service_names)},
        header_names=frozenset(header.key for header in http.header_map.headers),
        has_params=params is not None,
        is_prefixed=prefixed.bool_value if prefixed is not None else None,
        strips_token=described["strips_token"].bool_value if "strips_token" in described else False,
    )


def _targets(names: Iterable[bytes]) -> list[str]:
    found = [name.decode("utf-8", "replace") for name in names]
    if not 0 < len(found) <= MAX_TARGETS:
        return [""]
    return [name if _TARGET.fullmatch(name) else "" for name in found]


def _for(check: ext.CheckRequest, target: str) -> ext.CheckRequest:
    copy = ext.CheckRequest()
    copy.CopyFrom(check)
    copy.attributes.request.http.host = target
    return copy


def _body(method: str, params: bytes | None) -> bytes:
    """The JSON-RPC message that the client sent, or one that means the same.

    The params go in as they are: who reads this refuses doubled members and ones that no request
    has, so that no text can end them early and go on.
    """
    head = b'{"jsonrpc":"2.0",'
    if not is_notification(method):
        head += b'"id":0,'
    head += b'"method":' + msgspec.json.encode(method)
    return head + b"}" if params is None else head + b',"params":' + params + b"}"


def _add_headers(http: ext.HttpRequest, headers: _Headers) -> str:
    """Add the client's headers; the path of its request, "" where there is not exactly one."""
    paths: list[str] = []
    for key, value in headers:
        name = key.lower()
        if name == _PATH:
            paths.append(value.decode("utf-8", "replace"))
        elif name not in _LEFT_OUT and not name.startswith(":"):
            http.header_map.headers.add(key=name, raw_value=value)
    return (paths or ["/"])[0] if len(paths) <= 1 else ""


def _described_headers(described: Struct) -> _Headers:
    """Each header of ``request.headers``, which has a list where one came several times."""
    for name, value in _struct(described.fields.get("headers")).fields.items():
        for one in value.list_value.values if value.HasField("list_value") else [value]:
            yield name, _text(one).encode()


def _struct(value: Value | None) -> Struct:
    return value.struct_value if value is not None else Struct()


def _text(value: Value | None) -> str:
    return value.string_value if value is not None else ""
