"""Checks that a real Envoy sent, and readers of them: what a full reading gives, and another."""

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from authz._pb import ext_authz_pb2 as pb
from authz.core.identity import ProfileSettings
from authz.core.routes import RouteProtocol, Routes, RouteSettings
from authz.edge.answered import DecodedCheck
from authz.edge.envoy.known_messages import CheckReader
from authz.edge.envoy.reader import read_check
from authz.edge.header_reader import Prefixes
from authz.edge.inputs import MessageInputs, RequestInputs

# CheckRequests of a real Envoy 1.40, in both forms of headers, with and without traceparent.
RECORDED = {
    name: base64.b64decode(text)
    for name, text in json.loads(
        (Path(__file__).parent / "data/envoy_checks.json").read_text()
    ).items()
}
COMMON = frozenset({"authorization", "x-forwarded-client-cert"})
MESSAGES = MessageInputs(
    Routes((RouteSettings(name="mcp", paths=("/finance/**",), protocol=RouteProtocol.MCP),)),
    reads_arguments=lambda _: True,
)


def limited(_: str, proxy: str) -> ProfileSettings:
    """Return the profile of a proxy, each with a limit that some bodies fill."""
    return ProfileSettings(max_request_bytes=80 if proxy else 60)


INPUTS = {
    "common": RequestInputs(COMMON),
    "proofs": RequestInputs(COMMON | {"dpop"}, given=frozenset({"x-agent-id"})),
    "prefixes": RequestInputs(
        COMMON | {"x-agent-mode"},
        given=frozenset({"x-agent-id"}),
        prefixes=Prefixes(("x-agent-", "x-role-"), frozenset({"x-agent-id"})),
    ),
    "request id": RequestInputs(COMMON | {"x-request-id"}),
    "trace": RequestInputs(COMMON | {"traceparent"}),
    "metadata": RequestInputs(COMMON, ("envoy.a", "b")),
    "messages": RequestInputs(COMMON, messages=MESSAGES),
    "limit": RequestInputs(COMMON, messages=replace(MESSAGES, profile_of=limited)),
}
ID, TRACEPARENT, TOKEN = "x-request-id", "traceparent", "authorization"


def full(inputs: RequestInputs, data: bytes, proxy: str = "") -> DecodedCheck | None:
    """What a full reading gives, None where it refuses the message."""
    try:
        return read_check(inputs, pb.CheckRequest.FromString(data), proxy)
    except DecodeError:
        return None


def read(reader: CheckReader, data: bytes, proxy: str = "") -> DecodedCheck | None:
    """What the reader gives, likewise."""
    try:
        return reader.read(data, proxy)
    except DecodeError:
        return None


def set_header(message: pb.CheckRequest, name: str, value: bytes, *, more: bool = False) -> None:
    """Give a header a value, in the message's form; ``more`` adds another of its name."""
    http = message.attributes.request.http
    if not http.HasField("header_map"):
        http.headers[name] = value.decode("ascii", "replace")
        return
    for header in http.header_map.headers:
        if header.key == name and not more:
            header.raw_value = value
            return
    http.header_map.headers.add(key=name, raw_value=value)


def ask_for(data: bytes, target: str, body: bytes = b"", **odd: Any) -> bytes:
    """The same agent's request for another path or with another body, as Envoy tells of it.

    ``odd`` gives what is not as it should be: a ``size``, a ``length``, a ``header`` of the path.
    """
    message = pb.CheckRequest.FromString(data)
    http = message.attributes.request.http
    http.path = target
    set_header(message, ":path", odd.get("header", target.encode()))
    if body:
        http.method = "POST"
        http.raw_body, http.size = body, odd.get("size", len(body))
        set_header(message, "content-type", b"application/json")
        set_header(message, "content-length", odd.get("length", b"%d" % len(body)))
    return message.SerializeToString()


def again(data: bytes, number: int) -> bytes:
    """The same request once more, as Envoy tells of it."""
    message = pb.CheckRequest.FromString(data)
    message.attributes.source.address.socket_address.port_value = 40_000 + number
    message.attributes.request.time.seconds = 1_795_913_818 + number
    message.attributes.request.time.nanos = 1 << (number % 30)
    message.attributes.request.http.id = str(10**17 * (1 + number % 170))
    set_header(message, ID, b"%036x" % number)
    set_header(message, TRACEPARENT, b"00-%032x-%016x-01" % (number, number))
    return message.SerializeToString()


def _field(number: int, content: bytes) -> bytes:
    size, varint = len(content), b""
    while size > 0x7F:
        size, varint = size >> 7, varint + bytes([size & 0x7F | 0x80])
    return bytes([number << 3 | 2]) + varint + bytes([size]) + content


def with_headers(data: bytes, headers: Sequence[tuple[str, bytes]]) -> bytes:
    """The same request with these headers as a map, in an order that only its sender chooses."""
    message = pb.CheckRequest.FromString(data)
    attributes = message.attributes
    http, begun = attributes.request.http, attributes.request.time.SerializeToString()
    http.headers.clear()
    http.ClearField("header_map")
    first = _field(1, http.id.encode()) + _field(2, http.method.encode())
    entries = [_field(1, name.encode()) + _field(2, value) for name, value in headers]
    listed = b"".join(_field(3, entry) for entry in entries)
    of_http = first + listed + http.SerializeToString().removeprefix(first)
    attributes.ClearField("request")
    ends = pb.AttributeContext(source=attributes.source, destination=attributes.destination)
    before = ends.SerializeToString()
    request = _field(4, _field(1, begun) + _field(2, of_http))
    after = attributes.SerializeToString().removeprefix(before)
    return _field(1, before + request + after)


def with_lengths(data: bytes, *, whole: int = 0, request: int = 0) -> bytes:
    """Change the length that a message says it has, and its request and all of that."""
    found = re.search(
        rb'"([\x80-\xff].)\n.{5,12}?\x12([\x80-\xff].)\n[\x12-\x14][0-9]{18}', data, re.DOTALL
    )
    assert found is not None
    changed = bytearray(data)
    for at, by in ((1, whole), (found.start(1), request), (found.start(2), request)):
        length = (changed[at] & 0x7F | changed[at + 1] << 7) + by
        changed[at : at + 2] = bytes((length & 0x7F | 0x80, length >> 7))
    return bytes(changed)
