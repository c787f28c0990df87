"""Which messages have places to be cut out: a message that only looks like it is never known."""

import pytest

from authz._pb import ext_authz_pb2 as pb
from authz.edge.envoy import outlines
from authz.edge.envoy.known_messages import CheckReader
from authz.edge.envoy.layouts import Places, find_layout
from authz.edge.envoy.outlines import Cutter, is_regular
from support.known_checks import (
    INPUTS,
    RECORDED,
    TOKEN,
    again,
    full,
    read,
    set_header,
    with_headers,
    with_lengths,
)

COMMON = INPUTS["common"]
ID, TRACEPARENT = "x-request-id", "traceparent"
TRACE = b"00-%032x-%016x-01" % (7, 7)
# A header, as it stands in a message, without its value: of that its length follows.
ID_FIELD, TRACE_FIELD = b"\n\x0cx-request-id\x1a", b"\n\x0btraceparent\x1a"


def ending_with(*headers: tuple[str, bytes]) -> bytes:
    """Return a message that ends with these headers, in their order."""
    message = pb.CheckRequest.FromString(again(RECORDED["raw-traced"], 1))
    attributes = message.attributes
    for field, _ in attributes.ListFields():
        if field.name not in {"source", "destination", "request"}:
            attributes.ClearField(field.name)
    fields = attributes.request.http.header_map.headers
    given = {ID, TRACEPARENT, *(name for name, _ in headers)}
    others = [one for one in fields if one.key not in given]
    del fields[:]
    fields.extend(others)
    for name, value in headers:
        set_header(message, name, value, more=True)
    return message.SerializeToString()


def known(data: bytes) -> CheckReader:
    """Return a reader that knows a message."""
    reader = CheckReader(COMMON)
    for _ in range(3):
        reader.read(data, "")
    assert len(reader._known) == 1
    return reader


def taught(data: bytes) -> CheckReader:
    """Return a reader that has read a message often enough to know it, and does not."""
    reader = CheckReader(COMMON)
    for _ in range(6):
        assert read(reader, data) == full(COMMON, data)
    assert not len(reader._known)
    return reader


@pytest.mark.parametrize("header", [(ID, b"1" * 36), (TRACEPARENT, TRACE)])
def test_a_value_that_ends_after_its_message(header: tuple[str, bytes]) -> None:
    """A message cut within its last header, with lengths to fit, is refused as in full."""
    data = ending_with(header)
    cut = with_lengths(data[:-3], whole=-3, request=-3)
    assert full(COMMON, cut) is None
    assert read(known(data), cut) is None


@pytest.mark.parametrize("names", [(ID, TRACEPARENT), (TRACEPARENT, ID)])
def test_the_two_headers_in_each_order(names: tuple[str, str]) -> None:
    """Messages are known whichever of the two comes first."""
    values = {ID: b"1" * 36, TRACEPARENT: TRACE}
    known(ending_with(*((name, values[name]) for name in names)))


def test_the_length_of_envoy_s_id() -> None:
    """An id that says another length than it has is read as in full."""
    data = again(RECORDED["raw-traced"], 1)
    reader = known(data)
    at = data.index(pb.CheckRequest.FromString(data).attributes.request.http.id.encode()) - 1
    for length in range(256):
        sent = data[:at] + bytes([length]) + data[at + 1 :]
        assert read(reader, sent) == full(COMMON, sent)


def test_what_follows_the_request_counts() -> None:
    """The same bytes with headers outside of the request are not the message that is known."""
    data = ending_with((ID, b"1" * 36))
    message = pb.CheckRequest.FromString(data)
    size = len(message.attributes.request.http.SerializeToString())
    message.attributes.request.http.ClearField("header_map")
    without = with_lengths(
        data, request=len(message.attributes.request.http.SerializeToString()) - size
    )
    reader = known(data)
    assert full(COMMON, without) != full(COMMON, data)
    assert read(reader, without) == full(COMMON, without)


def test_a_message_whose_length_takes_three_bytes() -> None:
    """A length of three bytes is not read as one of two: the message is refused as in full."""
    message = pb.CheckRequest.FromString(ending_with((ID, b"1" * 36), ("x-a", b"v" * 10_000)))
    request = message.attributes.request
    request.http.header_map.headers[-1].raw_value += b"v" * (16_384 - message.ByteSize())
    data = message.SerializeToString()
    request.time.nanos, request.http.id = (1 << 31) - 1, "1" * 20  # the values with most bytes
    attributes = message.attributes.SerializeToString()
    size = len(attributes)
    assert size >= 1 << 14
    longer = b"\n" + bytes((size & 0x7F | 0x80, size >> 7)) + attributes
    reader = known(data)
    assert full(COMMON, longer) is None
    assert read(reader, longer) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (TRACEPARENT, TRACE[:10] + ID_FIELD + b"\x10" + TRACE[26:]),
        (ID, b"1" * 10 + TRACE_FIELD + b"\x11" + b"1" * 20),
    ],
)
def test_a_header_within_another_s_value(name: str, value: bytes) -> None:
    """A value that has the other header's text is not taken for two headers."""
    taught(ending_with((name, value)))


@pytest.mark.parametrize("size", [0, 15])
def test_a_short_header_within_another_s_value(size: int) -> None:
    """A value that has another header's text with a short value is read whole, as in full."""
    value = b"1" * 10 + TRACE_FIELD + bytes([size]) + b"1" * 15
    reader = known(ending_with((ID, value)))
    sent = ending_with((ID, value.replace(b"1", b"2")))
    assert read(reader, sent) == full(COMMON, sent)


def test_a_place_that_is_not_a_value() -> None:
    """A path that looks like a header, and reaches into what follows, is never cut out."""
    message = pb.CheckRequest.FromString(again(RECORDED["raw-plain"], 1))
    message.attributes.request.http.path += (ID_FIELD + b"\x60").decode()
    taught(message.SerializeToString())


@pytest.mark.parametrize("size", [1, 15])
def test_short_ids_stay_in_the_outline(size: int) -> None:
    """An id that could be guessed when it is tried out is no value, but a part of the outline."""
    reader = known(ending_with((ID, b"1" * size)))
    sent = ending_with((ID, b"2" * size))
    for _ in range(3):
        assert read(reader, sent) == full(COMMON, sent)
    assert len(reader._known) == 2


@pytest.mark.parametrize("size", [54, 56])
def test_odd_traces_have_no_id(size: int) -> None:
    """A traceparent of another length is a value as well, of which no trace id is read."""
    reader = known(ending_with((ID, b"1" * 36), (TRACEPARENT, TRACE.ljust(size, b"0")[:size])))
    sent = ending_with((ID, b"1" * 36), (TRACEPARENT, b"2" * size))
    assert read(reader, sent) == full(COMMON, sent)


LENGTHS = {"source": 1, "address": 2, "socket address": 3, "IP address": 4}


@pytest.mark.parametrize("name", LENGTHS)
@pytest.mark.parametrize("by", [1, -1])
def test_lengths_that_are_not_as_they_look(name: str, by: int) -> None:
    """Places are learned only where each length around them is right."""
    data = bytearray(again(RECORDED["raw-traced"], 1))
    cutter = Cutter()
    source = outlines._SOURCE.match(data, 3)
    assert source is not None
    data[source.start(LENGTHS[name])] += by
    cutter.learn(bytes(data))
    assert cutter.cut(bytes(data)) is None


def test_attributes_in_another_order() -> None:
    """Places are learned only where the destination follows the source."""
    data = bytearray(again(RECORDED["raw-traced"], 1))
    head = outlines._head_of(bytes(data))
    assert head is not None
    data[head[2]] = 0x1A  # the tag of another field
    cutter = Cutter()
    cutter.learn(bytes(data))
    assert cutter.cut(bytes(data)) is None


def test_places_that_are_those_of_another_message() -> None:
    """A message that only begins as a known one is not regular."""
    message = pb.CheckRequest.FromString(again(RECORDED["raw-traced"], 1))
    socket = message.attributes.source.address.socket_address
    cutter = Cutter()
    socket.address, socket.port_value = "10.1.2.30", 8080
    first = message.SerializeToString()
    cutter.learn(first)
    parts = cutter.cut(first)
    assert parts is not None
    assert is_regular(first, parts.head)
    socket.address, socket.port_value = "10.1.2.3", 40_000  # as long
    other = message.SerializeToString()
    parts = cutter.cut(other)
    assert parts is not None
    assert not is_regular(other, parts.head)


@pytest.mark.parametrize("names", [(TOKEN, TRACEPARENT), (TRACEPARENT, TOKEN)])
def test_headers_that_change_places(names: tuple[str, str]) -> None:
    """Of two headers as long, each is read by its name, whichever came there in the last one."""

    def sent(first: str, second: str, marks: bytes) -> bytes:
        # Fillers make up for the lengths of names: so both values stay where they are.
        return ending_with(
            ("x-a", b"f" * (40 - len(first))),
            (first, b"Bearer " + marks[:1] * 48),
            ("x-b", b"f" * (40 - len(second))),
            (second, b"Bearer " + marks[1:] * 48),
            (ID, b"1" * 36),
        )

    reader = known(sent(*names, b"ab"))
    for message in (sent(*names[::-1], b"cd"), sent(*names, b"ef")):
        assert read(reader, message) == full(COMMON, message)


def test_a_path_that_changes_places() -> None:
    """A path is never read where another message of the same length had one of its texts.

    The trace is as long as the path. In the second message a text that looks like the path's field
    stands where the trace was, and the trace where the path was.
    """
    size, data = 55, again(RECORDED["map-traced"], 1)
    good, other = (f"/finance/accounts/{digit}".ljust(size, digit).encode() for digit in "78")
    trace = b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"

    def sent(path: bytes, host: str, *headers: tuple[str, bytes]) -> bytes:
        message = pb.CheckRequest.FromString(data)
        http = message.attributes.request.http
        http.path, http.host = path.decode(), host
        return with_headers(message.SerializeToString(), [(ID, b"1" * 36), *headers])

    def usual(path: bytes, trace: bytes) -> bytes:
        headers = [(TRACEPARENT, trace), (":path", path), ("user-agent", b"u" * 20)]
        return sent(path, "h" * (20 + 2 + size), *headers)

    text = b"z" * 6 + b'"' + bytes([size]) + good
    filler = ("x-b", b"m" * 12)
    odd = sent(good, "h" * 20, ("x-a", text), (":path", good), filler, (TRACEPARENT, trace))
    there, here = (places_of(one) for one in (usual(good, trace), odd))
    assert (here.path, here.trace, here.path_header) == (there.trace, there.path, there.path_header)

    reader = known(usual(good, trace))
    assert read(reader, odd) == full(COMMON, odd)
    last = usual(other, good)
    assert read(reader, last) == full(COMMON, last)


def places_of(sent: bytes) -> Places:
    """Return where a message's values are."""
    layout = find_layout(sent[sent.index(b"\x12\x03GET") :])
    assert layout is not None
    return layout.places
