"""What a message may hold besides its body: tiny pieces are dear to read, and a body is cheap."""

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz._pb import ext_authz_pb2 as pb
from authz._pb import ext_mcp_pb2 as mcp
from authz.core.reason import Denied, Reason
from authz.edge import beside_body
from authz.edge.beside_body import MAX_BESIDE_BODY_BYTES, MAX_FIELDS, BodyPlace
from authz.transports.native.calls import LIMITS
from support.ext_mcp import CHANGES, Gateway, request, response
from support.ext_mcp import reason_of as mcp_reason_of
from support.world import World, check_request, reason_of

LONGEST = LIMITS.max_body_bytes
ENVOYS = BodyPlace((1, 4, 2), frozenset({11, 12}))


def varint(number: int) -> bytes:
    """Write a varint."""
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def field(number: int, content: bytes) -> bytes:
    """Write a field with a length."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def http(content: bytes) -> bytes:
    """Write a CheckRequest with the fields of an HttpRequest."""
    return field(1, field(4, field(2, content)))


def filled(piece: bytes) -> bytes:
    """Repeat a piece as often as the longest message has it."""
    return piece * ((LONGEST - 100) // len(piece))


CHECKS = {
    "header entries": http(filled(field(3, b""))),
    "raw headers": http(field(13, filled(field(1, b"")))),
    "labels": field(1, field(1, filled(field(3, b"")))),
    "extensions": field(1, filled(field(10, b""))),
    "metadata": field(1, field(11, filled(field(1, b"")))),
    "attributes again and again": filled(field(1, b"")),
    "a body again and again": http(filled(field(12, b""))),
    "unknown fields": filled(b"\x78\x00"),
    "unknown groups": http(filled(b"\x7b\x7c")),
    "headers before a body that is not there": http(
        field(13, field(1, b"") * 1_000_000) + b"\x62" + varint(LONGEST) + b"body"
    ),
    "headers before a body that ends beyond": field(
        1, field(4, b"\x12" + varint(3_000_000) + field(12, b"x" * 1_000_000))
    )
    + filled(b"\x78\x00")[:2_000_000],
    "a number without an end": filled(b"\x80"),
}
PIECES = {
    "targets": filled(field(1, b"")),
    "headers": filled(field(5, b"")),
    "claims": field(3, filled(field(1, b""))),
    "a body again and again": filled(field(4, b"")),
}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that asks a core in this process."""
    with World(tmp_path_factory.mktemp("world"), CHANGES) as world:
        yield Gateway(world)


@pytest.mark.parametrize("kind", CHECKS)
def test_a_check_of_tiny_pieces_is_not_read(
    shared_world: World, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused unread, and the record says why."""
    monkeypatch.delattr("authz.edge.envoy.authorization.CheckReader.read")
    assert reason_of(shared_world.check(CHECKS[kind])) == "check_malformed"
    detail = shared_world.audit_records()[-1]["detail"]
    assert detail == f"the message has more than {MAX_BESIDE_BODY_BYTES} bytes besides its body"


@pytest.mark.parametrize("kind", PIECES)
def test_a_message_of_tiny_pieces_is_not_read(gateway: Gateway, kind: str) -> None:
    """The same of agentgateway's messages, before a call and after it."""
    assert mcp_reason_of(gateway.ask(PIECES[kind])) == "check_malformed"
    assert mcp_reason_of(gateway.show(PIECES[kind])) == "check_malformed"
    details = {record["detail"] for record in gateway.world.audit_records()[-2:]}
    assert details == {f"the message has more than {MAX_BESIDE_BODY_BYTES} bytes besides its body"}


@pytest.mark.parametrize("member", ["body", "raw_body"])
def test_the_longest_body_is_read(shared_world: World, member: str) -> None:
    """A check whose body fills the longest message is decided as one with a short body."""
    authorization = ("authorization", f"Bearer {shared_world.token()}")
    message = check_request(shared_world.svid, [authorization])
    make: Callable[[bytes], object] = bytes if member == "raw_body" else bytes.decode
    setattr(message.attributes.request.http, member, make(b"x" * (LONGEST - 16 * 1024)))
    assert reason_of(shared_world.check(message)) == "allow"


def test_the_longest_result_is_read(gateway: Gateway) -> None:
    """A result that fills the longest message passes, and a call's arguments are looked at."""
    token, long = gateway.world.token(), b'"' + b"x" * (LONGEST - 16 * 1024) + b'"'
    assert mcp_reason_of(gateway.show(response("tools/call", long, token=token))) == "pass"
    refused = gateway.ask(
        request("tools/call", b'{"name":"search","x":' + long + b"}", token=token)
    )
    assert mcp_reason_of(refused) == "body_truncated"


def test_all_that_proxies_may_write_is_read(shared_world: World) -> None:
    """Just as many bytes as there may be are read; one more is refused."""
    authorization = ("authorization", f"Bearer {shared_world.token()}")
    message = check_request(shared_world.svid, [authorization])
    message.attributes.request.http.raw_body = b"x" * 1000
    headers = message.attributes.request.http.headers
    headers["x-long"] = "x" * MAX_BESIDE_BODY_BYTES
    excess = message.ByteSize() - 1000 - MAX_BESIDE_BODY_BYTES
    headers["x-long"] = "x" * (MAX_BESIDE_BODY_BYTES - excess)
    assert reason_of(shared_world.check(message)) == "allow"
    headers["x-long"] += "x"
    assert reason_of(shared_world.check(message)) == "check_malformed"


def test_so_many_fields_are_looked_at() -> None:
    """A body behind more headers than proxies write counts as no body."""
    entry, body = field(3, b""), field(12, b"x" * MAX_BESIDE_BODY_BYTES)
    beside_body.require_few_bytes_beside(http(entry * (MAX_FIELDS - 1) + body), ENVOYS)
    with pytest.raises(Denied) as refused:
        beside_body.require_few_bytes_beside(http(entry * MAX_FIELDS + body), ENVOYS)
    assert refused.value.reason is Reason.CHECK_MALFORMED


@given(
    headers=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=5),
    text=st.text(max_size=300),
    raw=st.binary(max_size=300),
    size=st.integers(min_value=-1, max_value=2**40),
    port=st.integers(min_value=0, max_value=2**32 - 1),
)
def test_the_body_is_found(
    headers: dict[str, str], text: str, raw: bytes, size: int, port: int
) -> None:
    """Whatever stands around it, just the bytes that protobuf reads as the body are counted."""
    message = pb.CheckRequest()
    message.attributes.source.address.socket_address.port_value = port
    message.attributes.context_extensions.update(headers)
    one = message.attributes.request.http
    one.headers.update(headers)
    one.path, one.size, one.body, one.raw_body = text, size, text, raw
    found = beside_body._body_bytes(message.SerializeToString(), ENVOYS)
    assert found == len(text.encode()) + len(raw)

    of_mcp = mcp.McpRequest(method=text.encode(), mcp_request=raw, service_names=[raw])
    assert beside_body._body_bytes(
        of_mcp.SerializeToString(), BodyPlace((), frozenset({4}))
    ) == len(raw)


@given(data=st.binary(max_size=60))
def test_any_bytes_are_counted(data: bytes) -> None:
    """No bytes raise, and no more than there are count as the body."""
    assert 0 <= beside_body._body_bytes(data, ENVOYS) <= len(data)
    assert 0 <= beside_body._body_bytes(http(data), ENVOYS) <= len(data)
