"""Values through our protobuf and the published one: real checks, hostile ones, our answers.

The checks in support/data/checkrequests.txt were recorded from a real Envoy.
"""

import re
from pathlib import Path
from typing import Any, Final

import pytest
from google.protobuf import text_format
from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st

from authz._pb import ext_authz_pb2 as pb
from support.published import base_pb2
from support.published import external_auth_pb2 as published

CHECKS: Final = Path(__file__).parents[1] / "support" / "data" / "checkrequests.txt"
TOO_DEEP: Final = 100  # protobuf gives up at 100 messages in one another; a level here is three
_PLAIN: Final = (
    "id", "method", "path", "host", "scheme", "query", "fragment", "size", "protocol", "body",
    "raw_body",
)  # fmt: skip


def _recorded() -> dict[str, Any]:
    text = CHECKS.read_text(encoding="utf-8")
    parts = re.split(r"^### ([a-z_]+): .*\n", text, flags=re.MULTILINE)
    named = zip(parts[1::2], parts[2::2], strict=True)
    return {name: text_format.Parse(body, published.CheckRequest()) for name, body in named}


RECORDED: Final = _recorded()
recorded = pytest.mark.parametrize("theirs", RECORDED.values(), ids=RECORDED)


def _peer(peer: Any) -> dict[str, object]:
    address = peer.address
    return {
        "address": address.WhichOneof("address"),
        "socket": (address.socket_address.address, address.socket_address.port_value),
        "pipe": address.pipe.path,
        "labels": dict(peer.labels),
        "principal": peer.principal,
        "certificate": peer.certificate,
    }


def _http(http: Any) -> dict[str, object]:
    header_map = [(h.key, h.value, h.raw_value) for h in http.header_map.headers]
    return {
        **{name: getattr(http, name) for name in _PLAIN},
        "headers": dict(http.headers),
        "header_map": header_map if http.HasField("header_map") else None,
    }


def _what_is_read(message: Any) -> dict[str, object]:
    """Every value of a check that our copy declares with the published type."""
    attributes = message.attributes
    return {
        "source": _peer(attributes.source),
        "destination": _peer(attributes.destination),
        "time": (attributes.request.time.seconds, attributes.request.time.nanos),
        "http": _http(attributes.request.http),
        "context": dict(attributes.context_extensions),
    }


def _structs(metadata: Any) -> dict[str, Struct]:
    return {
        name: Struct.FromString(value) if isinstance(value, bytes) else value
        for name, value in metadata.filter_metadata.items()
    }


def test_recordings_show_what_they_are_for() -> None:
    """The recorded checks hold, between them, every kind of content that we compare."""
    every = [message.attributes for message in RECORDED.values()]

    assert any(a.source.certificate for a in every)
    assert any(not a.source.principal for a in every)
    assert any(a.tls_session.sni for a in every)
    assert any(a.request.http.raw_body for a in every)
    assert any(a.request.http.header_map.headers for a in every)
    assert any(a.request.http.headers for a in every)
    assert any(not a.request.http.path for a in every)
    assert any(a.context_extensions for a in every)
    assert any(a.route_metadata_context.filter_metadata for a in every)
    assert any(a.destination.labels for a in every)


@recorded
def test_recorded_check_reads_alike(theirs: Any) -> None:
    """What Envoy sent has the same values through our copy as through the published one."""
    ours = pb.CheckRequest.FromString(theirs.SerializeToString())

    assert _what_is_read(theirs) == _what_is_read(ours)
    assert theirs.attributes.tls_session.sni.encode() == ours.attributes.tls_session.sni
    for name in ("metadata_context", "route_metadata_context"):
        expected = _structs(getattr(theirs.attributes, name))
        assert expected == _structs(getattr(ours.attributes, name))


@recorded
def test_recorded_check_survives_our_copy(theirs: Any) -> None:
    """A check that we parse and write again is the one that Envoy sent."""
    ours = pb.CheckRequest.FromString(theirs.SerializeToString())

    assert theirs == published.CheckRequest.FromString(ours.SerializeToString())


def test_unknown_fields_are_kept() -> None:
    """Fields that our copy leaves out are not read, and are still there when it is written."""
    theirs = published.CheckRequest()
    theirs.attributes.source.service = "client-chosen"
    theirs.attributes.source.address.socket_address.resolver_name = "r"
    theirs.attributes.metadata_context.typed_filter_metadata["n"].type_url = "t"
    ours = pb.CheckRequest.FromString(theirs.SerializeToString())

    assert "service" not in pb.Peer.DESCRIPTOR.fields_by_name
    assert theirs == published.CheckRequest.FromString(ours.SerializeToString())


def test_filter_metadata_stays_undecoded() -> None:
    """A namespace's Struct arrives as bytes, which decode to it when it is asked for."""
    theirs = published.CheckRequest()
    struct = theirs.attributes.metadata_context.filter_metadata["envoy.filters.http.mcp"]
    struct.update({"method": "tools/call", "params": {"name": "transfer", "n": [1, None]}})
    ours = pb.CheckRequest.FromString(theirs.SerializeToString())
    found = ours.attributes.metadata_context.filter_metadata["envoy.filters.http.mcp"]

    assert isinstance(found, bytes)
    assert struct == Struct.FromString(found)


def test_struct_too_deep_to_decode_does_not_fail_the_check() -> None:
    """Metadata nested beyond the parser's limit harms nothing but itself."""
    deep = b""
    for _ in range(TOO_DEEP):
        deep = _wrapped(deep)
    ours = pb.CheckRequest()
    ours.attributes.source.principal = "spiffe://corp.example/a"
    ours.attributes.metadata_context.filter_metadata["n"] = deep
    data = ours.SerializeToString()

    with pytest.raises(DecodeError):
        published.CheckRequest.FromString(data)
    assert pb.CheckRequest.FromString(data).attributes.source.principal == (
        "spiffe://corp.example/a"
    )


def _wrapped(inner: bytes) -> bytes:
    """A serialised Struct whose one value is the Struct ``inner``."""
    value = b"\x2a" + _length(inner) + inner  # Value.struct_value = 5
    entry = b"\x12" + _length(value) + value  # the map entry's value = 2
    return b"\x0a" + _length(entry) + entry  # Struct.fields = 1


def _length(data: bytes) -> bytes:
    number, out = len(data), bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


@given(name=st.binary(max_size=64))
def test_any_server_name_parses(name: bytes) -> None:
    """Envoy passes a client's SNI on as it came, and no bytes of it may fail the whole check."""
    ours = pb.CheckRequest()
    ours.attributes.tls_session.sni = name

    assert name == pb.CheckRequest.FromString(ours.SerializeToString()).attributes.tls_session.sni


def test_published_copy_fails_on_such_a_server_name() -> None:
    """The difference in type is still needed: a published string refuses what Envoy passes on."""
    ours = pb.CheckRequest()
    ours.attributes.tls_session.sni = b"\xff"

    with pytest.raises(DecodeError):
        published.CheckRequest.FromString(ours.SerializeToString())


@given(
    headers=st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=5),
    raw=st.lists(st.tuples(st.text(max_size=20), st.binary(max_size=20)), max_size=5),
    size=st.integers(-(2**63), 2**63 - 1),
)
def test_any_headers_read_alike(
    headers: dict[str, str], raw: list[tuple[str, bytes]], size: int
) -> None:
    """Whatever the headers are, both copies read the same from one message."""
    theirs = published.CheckRequest()
    http = theirs.attributes.request.http
    http.headers.update(headers)
    http.size = size
    for key, value in raw:
        http.header_map.headers.add(key=key, raw_value=value)

    assert _what_is_read(theirs) == _what_is_read(
        pb.CheckRequest.FromString(theirs.SerializeToString())
    )


@given(
    status=st.integers(-(2**31), 2**31 - 1),
    code=st.integers(-(2**31), 2**31 - 1),
    body=st.text(max_size=40),
)
def test_refusal_reads_alike(status: int, code: int, body: str) -> None:
    """Envoy reads a refusal as we wrote it, with any status, registered or not."""
    ours = pb.CheckResponse()
    ours.status.code, ours.status.message = code, "scope"
    ours.denied_response.status.code = status
    ours.denied_response.body = body
    _overwrite(ours.denied_response.headers, "www-authenticate")
    ours.dynamic_metadata.update({"reason": "scope", "valid_until": 0.0})
    theirs: Any = published.CheckResponse.FromString(ours.SerializeToString())

    assert theirs.WhichOneof("http_response") == "denied_response"
    assert (theirs.status.code, theirs.status.message) == (code, "scope")
    assert theirs.denied_response.status.code == status
    assert theirs.denied_response.body == body
    _assert_overwrites(theirs.denied_response.headers, "www-authenticate")
    assert theirs.dynamic_metadata == ours.dynamic_metadata


def test_allow_reads_alike() -> None:
    """Envoy reads an allow as we wrote it: headers to set, to remove, and for the response."""
    ours = pb.CheckResponse()
    ours.status.code = 0
    _overwrite(ours.ok_response.headers, "x-agent-id")
    _overwrite(ours.ok_response.response_headers_to_add, "x-response")
    ours.ok_response.headers_to_remove.extend(["x_agent_id", "authorization"])
    theirs: Any = published.CheckResponse.FromString(ours.SerializeToString())

    assert theirs.WhichOneof("http_response") == "ok_response"
    assert theirs.HasField("status")
    assert theirs.status.code == 0
    _assert_overwrites(theirs.ok_response.headers, "x-agent-id")
    _assert_overwrites(theirs.ok_response.response_headers_to_add, "x-response")
    assert list(theirs.ok_response.headers_to_remove) == ["x_agent_id", "authorization"]


def _overwrite(headers: Any, key: str) -> None:
    option = headers.add()
    option.header.key, option.header.value = key, "value"
    option.append_action = pb.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD


def _assert_overwrites(headers: Any, key: str) -> None:
    [option] = headers
    assert (option.header.key, option.header.value) == (key, "value")
    assert option.append_action == base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
    assert not option.HasField("append")
