"""gRPC's own rules over HTTP/2 (its doc/PROTOCOL-HTTP2.md): headers, messages, statuses."""

from pathlib import Path
from urllib.parse import unquote

import grpc
import pytest
from hpack import Decoder
from hypothesis import given
from hypothesis import strategies as st

from authz.edge.methods import AUTHORIZATION
from authz.transports.grpc import calls, messages
from authz.transports.grpc.answers import percent_encoded, status_answer, status_trailers
from authz.transports.grpc.calls import Call, read_call
from authz.transports.grpc.messages import PREFIX_BYTES, fault_of, frame
from authz.transports.http2 import Field, Refused
from authz.transports.status import StatusCode, StatusError
from support.frames import CHECK, framed
from support.ports import listening

# Of any characters: hypothesis takes seconds to prepare its own texts.
TEXTS = st.lists(st.integers(0, 0xD7FF) | st.integers(0xE000, 0x10FFFF), max_size=20).map(
    lambda points: "".join(map(chr, points))
)
METHODS = {b"/service/Method": "method"}
POST: dict[bytes, bytes] = {
    b":method": b"POST",
    b":path": b"/service/Method",
    b"content-type": b"application/grpc",
}


def read(**changes: bytes | None) -> Call[str] | Refused:
    """Read a call with some fields changed, or left out."""
    named = {name.replace("_", "-").encode(): value for name, value in changes.items()}
    pseudo = {b"method": b":method", b"path": b":path"}
    fields = POST | {pseudo.get(name, name): value for name, value in named.items()}
    return read_call(tuple((n, v) for n, v in fields.items() if v is not None), METHODS)


def section(block: bytes) -> tuple[Field, ...]:
    """Read a block of ours, by another's reader."""
    return tuple((bytes(name), bytes(value)) for name, value in Decoder().decode(block, raw=True))


def test_a_call() -> None:
    """The method is known by its path, and a call without grpc-timeout has no deadline."""
    assert read() == Call("method", None)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (b"1H", 3600.0),
        (b"2M", 120.0),
        (b"3S", 3.0),
        (b"200m", 0.2),
        (b"5u", 5e-6),
        (b"7n", 7e-9),
        (b"0n", 0.0),
        (b"00000001S", 1.0),
        (b"99999999H", 99_999_999 * 3600.0),
    ],
)
def test_timeouts(text: bytes, seconds: float) -> None:
    """At most eight digits and a unit."""
    call = read(grpc_timeout=text)
    assert isinstance(call, Call)
    assert call.timeout == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"1",
        b"S",
        b"1s",
        b"1h",
        b"-1S",
        b"+1S",
        b"1.5S",
        b"1 S",
        b" 1S",
        b"1S ",
        b"123456789S",
        b"1SS",
        b"1S\n",
        b"1_0S",
        b"\xd9\xa1S",
        b"inf",
    ],
)
def test_malformed_timeouts(text: bytes) -> None:
    """A deadline that can't be read is not taken for none."""
    assert read(grpc_timeout=text) is calls.BAD_TIMEOUT


@pytest.mark.parametrize(
    "value",
    [
        b"application/grpc",
        b"application/grpc+proto",
        b"application/grpc;charset=utf-8",
        b"Application/GRPC",
        b"application/grpc+json; x=y",
    ],
)
def test_content_types(value: bytes) -> None:
    """GRPC's content-type, with a format or parameters, in any case."""
    assert isinstance(read(content_type=value), Call)


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"text/plain",
        b"application/json",
        b"application/grpc-web",
        b"application/grpcx",
        b" application/grpc",
        b"application/grp",
    ],
)
def test_other_content_types(value: bytes | None) -> None:
    """Requests that are not gRPC are told so by HTTP's 415."""
    assert read(content_type=value) is calls.NOT_GRPC


@pytest.mark.parametrize("value", [b"GET", b"PUT", b"post", b"OPTIONS", b"CONNECT"])
def test_other_methods_of_http(value: bytes) -> None:
    """A call is a POST; anything else is 405, and told what would be right."""
    assert read(method=value) is calls.NOT_POST
    assert (b"allow", b"POST") in section(calls.NOT_POST.block)


@pytest.mark.parametrize(
    "value", [b"/", b"/service/method", b"/service/Method/", b"/service", b"*"]
)
def test_unknown_paths(value: bytes) -> None:
    """A path is a method's, to the byte, or UNIMPLEMENTED."""
    assert read(path=value) is calls.NO_SUCH_METHOD


def test_encodings() -> None:
    """Compressed calls are refused at their headers, and told what is taken."""
    assert isinstance(read(grpc_encoding=b"identity"), Call)
    for value in (b"gzip", b"deflate", b"", b"Identity", b"identity,gzip"):
        assert read(grpc_encoding=value) is calls.NOT_COMPRESSED
    fields = dict(section(calls.NOT_COMPRESSED.block))
    assert fields[b"grpc-status"] == b"12"
    assert fields[b"grpc-accept-encoding"] == b"identity"


@given(st.binary(max_size=50))
def test_a_message(message: bytes) -> None:
    """A framed message is one message, as others frame it too."""
    assert frame(message) == framed(message)
    assert fault_of(frame(message)) is None
    assert frame(message)[PREFIX_BYTES:] == message


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"", messages.NO_MESSAGE),
        (b"\0", messages.CUT_OFF),
        (b"\0\0\0\0", messages.CUT_OFF),
        (framed(b"abc", 4), messages.CUT_OFF),
        (framed(b"", 2**32 - 1), messages.CUT_OFF),
        (framed(b"abc", 2), messages.SEVERAL),
        (framed(b"a") + framed(b"b"), messages.SEVERAL),
        (framed(b"") + b"\0", messages.SEVERAL),
        (b"\1" + framed(b"abc")[1:], messages.COMPRESSED),
        (b"\1", messages.COMPRESSED),
        (b"\xff" + framed(b"")[1:], messages.COMPRESSED),
    ],
)
def test_bodies_that_are_not_a_message(body: bytes, fault: Refused) -> None:
    """Each has its own answer."""
    assert fault_of(body) is fault


def test_statuses() -> None:
    """A status without a message is in one header section; at a stream's end it is in trailers."""
    whole = section(status_answer(StatusCode.NOT_FOUND, "50 %", ((b"x", b"y"),)).block)
    assert whole == (
        (b":status", b"200"),
        (b"content-type", b"application/grpc"),
        (b"grpc-status", b"5"),
        (b"grpc-message", b"50 %25"),
        (b"x", b"y"),
    )
    trailers = section(status_trailers(StatusCode.UNAVAILABLE, "stop"))
    assert trailers == ((b"grpc-status", b"14"), (b"grpc-message", b"stop"))


@given(TEXTS)
def test_texts_of_statuses(text: str) -> None:
    """They are printable ASCII on the wire, whatever they hold, and nothing is lost."""
    encoded = percent_encoded(text)
    assert all(0x20 <= byte <= 0x7E for byte in encoded)
    assert unquote(encoded.decode("ascii"), errors="strict") == text


class Refusing:
    """A method that refuses with the text of its message."""

    def begin(self, data: bytes, _: str = "", /) -> bytes:
        """Refuse."""
        raise StatusError(StatusCode.NOT_FOUND, data.decode())


def test_texts_of_statuses_as_grpcio_reads_them(tmp_path: Path) -> None:
    """Its clients get the text that was given."""
    texts = [
        "plain",
        "50 % %25 %zz",
        "tab\tline\nend",
        "gr\u00fc\u00dfe \u20ac \U0001f600",
        "\x7f\x00",
        "a b",
    ]
    with (
        listening(tmp_path, methods={AUTHORIZATION: {"Check": Refusing()}}) as port,
        grpc.insecure_channel(port.transport.addresses[-1]) as channel,
    ):
        check = channel.unary_unary(CHECK, bytes, bytes)
        for text in texts:
            with pytest.raises(grpc.RpcError) as refused:
                check(text.encode(), timeout=60)
            assert refused.value.details() == text
            assert refused.value.code() is grpc.StatusCode.NOT_FOUND
