"""A message that is known by its bytes is read as a full reading reads it, whatever was changed."""

import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz._pb import ext_authz_pb2 as pb
from authz.edge.envoy import known_messages, reader
from authz.edge.envoy.known_messages import CheckReader, is_as_cut
from authz.edge.envoy.outlines import Cutter
from authz.edge.envoy.reader import Presented, Values, present_on
from support.known_checks import (
    ID,
    INPUTS,
    RECORDED,
    TOKEN,
    TRACEPARENT,
    again,
    ask_for,
    full,
    read,
    set_header,
    with_headers,
    with_lengths,
)
from support.world import World, check_request, reason_of


def with_new_values(chance: random.Random, data: bytes) -> bytes:
    """Change what Envoy changes in each message, and now and then in a way that it never does."""
    message = pb.CheckRequest.FromString(data)
    attributes = message.attributes
    request = attributes.request
    port = chance.choice([chance.randrange(32768, 61000)] * 8 + [0, 80, 200, 9000, 70000])
    attributes.source.address.socket_address.port_value = port
    request.time.seconds = chance.choice([1_795_913_818 + chance.randrange(10**6)] * 8 + [0, 1, -1])
    request.time.nanos = chance.choice([chance.randrange(10**9)] * 8 + [0, 5, 200, 70_000, -1])
    request.http.id = chance.choice(
        [str(chance.randrange(10**17, 2**64))] * 8 + ["", "1", "x" * 20, "é" * 10, "1" * 40]
    )
    characters = "0123456789abcdef-"
    length = chance.choice([36] * 8 + [0, 1, 15, 16, 32, 127, 128, 300])
    request_id = "".join(chance.choices(characters, k=length)).encode()
    odd = [b"\xff" * 36, b"\0" * 36, "é".encode() * 18, b"\n\x0btraceparent\x1a7" + b"0" * 21]
    set_header(message, ID, chance.choice([request_id] * 12 + odd))
    if chance.random() < 0.7:
        trace = f"00-{chance.randbytes(16).hex()}-{chance.randbytes(8).hex()}-01".encode()
        odd = [trace.upper(), trace[:-1], trace + b"0", b"\xff" * 55, b"", b"z" * 55]
        set_header(message, TRACEPARENT, chance.choice([trace] * 12 + odd))
    return message.SerializeToString()


def with_another_request(chance: random.Random, data: bytes) -> bytes:
    """Ask for another path, with another body, and now and then as no Envoy tells of it."""
    lengths = [27] * 4 + [0, 15, 16, 100, 127, 128, 300]
    target = "/finance/" + "".join(chance.choices("abc/?%", k=chance.choice(lengths)))
    target = chance.choice([target] * 8 + [target[8:], "/other/" + target[9:], "é" * 20])
    call = b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"%s"}}'
    name = b"a" * chance.choice([3, 3, 3, 4, 60, 200])
    odd: dict[str, object] = {}
    if chance.random() < 0.2:
        kind = chance.choice(["size", "length", "header"])
        odd[kind] = {
            "size": chance.choice([-1, 0, 1, 5, 200, 70_000]),
            "length": chance.choice([b"", b"1", b"99", b"123", b"x" * 3, b"\xff" * 2]),
            "header": chance.choice([b"/", b"\xff" * len(target), b"/finance/other", b"a" * 36]),
        }[kind]
    body = call % (chance.randrange(100), name)
    if chance.random() < 0.3:
        message = pb.CheckRequest.FromString(data)
        token = "".join(
            chance.choices("aB3-_.", k=chance.choice([525, 525, 30, 16, 15, 0]))
        ).encode()
        tokens = [b"Bearer " + token, token, b"Bearer " + b"\xff" * 525]
        set_header(message, TOKEN, chance.choice(tokens), more=chance.random() < 0.1)
        data = message.SerializeToString()
    return ask_for(data, target, chance.choice([b"", body, body, b"\xff" * 20, b"x"]), **odd)


def with_another_field(chance: random.Random, data: bytes) -> bytes:
    """Change a field that decisions may read."""
    message = pb.CheckRequest.FromString(data)
    attributes = message.attributes
    http = attributes.request.http
    kind = chance.randrange(6)
    if kind == 0:
        http.path += chance.choice(["/1", "?access_token=x", "?a"])
    elif kind == 1:
        http.method = chance.choice(["GET", "POST", "PUT", ""])
    elif kind == 2:
        attributes.source.principal = chance.choice(["", "spiffe://corp.example/a", "x" * 90])
    elif kind == 3:
        attributes.source.certificate = chance.choice(["", "x" * 120, "y" * 500])
    elif kind == 4:
        attributes.context_extensions[chance.choice("ab")] = chance.choice(["", "x", "route"])
    else:
        attributes.metadata_context.filter_metadata[chance.choice(["envoy.a", "b", "c"])] = b"\n\0"
    return message.SerializeToString()


def with_another_part(chance: random.Random, data: bytes) -> bytes:
    """Add a header, a body or a label, or change the order of headers."""
    message = pb.CheckRequest.FromString(data)
    attributes = message.attributes
    http = attributes.request.http
    kind = chance.randrange(6)
    if kind == 0:
        names = [ID, TRACEPARENT, "authorization", "x.agent.id", "dpop", "cookie"]
        name = chance.choice([*names, "x-agent-roles", "X.Role!a", "x-agent-mode"])
        set_header(message, name, chance.choice([b"a", b"b" * 36, b"\xff"]), more=True)
    elif kind == 1:
        http.raw_body = b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"a"}}' % (
            chance.randrange(3)
        )
        http.size = len(http.raw_body)
    elif kind == 2:
        http.raw_body = b"\n\x0cx-request-id\x1a$" + chance.choice([b"0", b"1"]) * 36
    elif kind == 3:
        fields = list(http.header_map.headers)
        chance.shuffle(fields)
        del http.header_map.headers[:]
        http.header_map.headers.extend(fields)
    elif kind == 4:
        attributes.destination.labels["zone"] = chance.choice("ab") * chance.choice([1, 200])
    else:
        attributes.source.labels["x"] = "y"
    return message.SerializeToString()


def merged(chance: random.Random, data: bytes) -> bytes:
    """Append a second message, which protobuf merges, or a field that nobody knows."""
    other = pb.CheckRequest()
    kind = chance.randrange(5)
    if kind == 0:
        other.attributes.request.http.path = "/other"
    elif kind == 1:
        other.attributes.source.principal = "spiffe://corp.example/other"
    elif kind == 2:
        other.attributes.request.http.header_map.headers.add(key=ID, raw_value=b"another")
    elif kind == 3:
        return data + b"\x12\x03abc"
    else:
        return data + b"\x0a\x03\x0a\x01"
    return data + other.SerializeToString()


def with_other_bytes(chance: random.Random, data: bytes) -> bytes:
    """Change, insert or take out some bytes where values and lengths are, or cut the end."""
    envoy_id = pb.CheckRequest.FromString(data).attributes.request.http.id.encode()
    at = chance.choice(
        [
            chance.randrange(4),
            data.find(b"\x18") + chance.randrange(5),
            data.find(envoy_id) - chance.randrange(30),
            data.find(envoy_id) + chance.randrange(30),
            data.find(b"x-request-id") + chance.randrange(9, 54),
            chance.randrange(len(data)),
        ]
    ) % len(data)
    kind = chance.randrange(7)
    if kind == 0:
        return data[: len(data) - chance.randrange(40)]
    if kind == 1:
        return data[:at] + data[at + 1 :]
    if kind == 2:
        return data[:at] + chance.randbytes(1) + data[at:]
    if kind == 3:  # a varint that is longer than it has to be
        return data[:at] + bytes([data[at] | 0x80, 0]) + data[at + 1 :]
    flipped = data[at] ^ (1 << chance.randrange(8)) if kind == 4 else chance.randrange(256)
    return data[:at] + bytes([flipped]) + data[at + 1 :]


@pytest.mark.parametrize("kind", INPUTS)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_it_is_the_full_reading(kind: str, seed: int) -> None:
    """Once a request is known, it is read as in full with any values, and any bytes changed."""
    chance, inputs = random.Random(seed), INPUTS[kind]
    reader = CheckReader(inputs)
    data = chance.choice([*RECORDED.values()])
    if chance.random() < 0.5:
        data = with_another_request(chance, data)
    for change in chance.choices(
        [with_another_field, with_another_part, merged], k=chance.choice([0, 0, 1, 2])
    ):
        if full(inputs, data) is not None:
            data = change(chance, data)
    if full(inputs, data) is None:
        return
    changes = [with_new_values, with_another_request, with_other_bytes, with_other_bytes]
    for number in range(1, 4):
        known = again(data, number)
        assert read(reader, known) == full(inputs, known)
    for number in range(4, 40):
        sent = again(data, number)
        for change in chance.choices(changes, k=chance.choice([0, 1, 1, 1])):
            if full(inputs, sent) is None:
                break
            sent = change(chance, sent)
        proxy = chance.choice(["", "", "", "spiffe://corp.example/gateway"])
        assert read(reader, sent, proxy) == full(inputs, sent, proxy), sent


def in_slots(
    chance: random.Random, form: str, names: Sequence[str], kind: Sequence[bytes]
) -> bytes:
    """A message with a text of ``kind`` in each slot: all of one length, in the same places.

    ``names`` are the headers in the slots. Fillers make up for their lengths.
    """
    headers: list[tuple[str, bytes]] = []
    for number, name in enumerate(names):
        headers += [(f"f{number}", b"f" * (40 - len(name))), (name, chance.choice(kind))]
    message = pb.CheckRequest.FromString(again(RECORDED[form], 1))
    http = message.attributes.request.http
    http.path = chance.choice(kind).decode()
    if form == "map-traced":
        return with_headers(message.SerializeToString(), headers)
    del http.header_map.headers[:]
    for name, value in headers:
        http.header_map.headers.add(key=name, raw_value=value)
    return message.SerializeToString()


@pytest.mark.parametrize("form", ["raw-traced", "map-traced"])
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_texts_that_change_places(form: str, seed: int) -> None:
    """Each text is read by its name, whatever stood in its place in the message before."""
    chance = random.Random(seed)
    inputs = INPUTS[chance.choice(["common", "messages"])]
    texts = [
        *(b"/finance/".ljust(55, mark) for mark in (b"a", b"b")),
        *(b"Bearer ".ljust(55, mark) for mark in (b"a", b"b")),
        *(b"00-" + mark * 32 + b"-" + b"c" * 16 + b"-01" for mark in (b"a", b"b")),
    ]
    names = [TOKEN, TRACEPARENT, ID, ":path", "x-a", "x-forwarded-client-cert"]
    slots = chance.randrange(2, 5)
    orders = [chance.sample(names, slots) for _ in range(3)]
    orders.append(chance.sample(orders[0], slots))
    reader = CheckReader(inputs)
    for _ in range(30):
        sent = in_slots(chance, form, chance.choice(orders), texts)
        assert read(reader, sent) == full(inputs, sent)


@pytest.mark.drawn  # each change is one of thousands
@pytest.mark.parametrize("form", ["raw-traced", "map-traced"])
@pytest.mark.parametrize("body", [b"", b'{"jsonrpc":"2.0","method":"%s"}' % (b"x" * 200)])
def test_each_bit_and_each_end(form: str, body: bytes) -> None:
    """With any single bit changed, or cut anywhere, a known message is read as in full."""
    inputs, data = INPUTS["messages"], again(RECORDED[form], 5)
    if body:
        data = ask_for(data, "/finance/accounts/7/balance", body)
    reader = CheckReader(inputs)
    for _ in range(3):
        assert read(reader, data) == full(inputs, data)
    for at in range(len(data)):
        # A text's other bits make another outline, as its lowest bit does.
        is_structure = any(data.find(text, at, at + 60) >= 0 for text in (b"2\x05https", b'{"json'))
        is_all = at < 100 or data.find(b"spiffe", at, at + 200) > 0 or (body and is_structure)
        for bit in range(8) if is_all else range(1):
            sent = data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :]
            assert read(reader, sent) == full(inputs, sent), (at, bit)
        assert read(reader, data[:at]) == full(inputs, data[:at])
    assert len(reader._known) > 0


@pytest.fixture
def full_readings(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """The full readings so far."""
    counted: list[bool] = []

    def counting(*args: object) -> tuple[Presented, Values]:
        counted.append(True)
        return present_on(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(reader, "present_on", counting)
    monkeypatch.setattr(known_messages, "present_on", counting)
    return counted


@pytest.mark.parametrize("form", ["raw-traced", "map-traced"])
def test_what_is_known_is_not_read_again(form: str, full_readings: list[bool]) -> None:
    """From the third message on, a request that comes again is read in full no more."""
    reader, data = CheckReader(INPUTS["common"]), RECORDED[form]
    for number in range(1, 4):  # the first shows its places, the second comes first with them
        reader.read(again(data, number), "")
    assert len(full_readings) == 4  # one of them to try it out

    for number in range(4, 100):
        check = reader.read(again(data, number), "")
        assert (check.request_id, check.trace_id) == (f"{number:036x}", f"{number:032x}")
    assert len(full_readings) == 4


@pytest.mark.parametrize("kind", ["common", "messages", "limit"])
@pytest.mark.parametrize("form", ["raw-traced", "map-traced"])
def test_other_paths_tokens_and_bodies_are_not_read_in_full(
    form: str, kind: str, full_readings: list[bool]
) -> None:
    """Once an agent's requests are known, only what is new in the next one is read of it."""
    inputs = INPUTS[kind]
    reader, data = CheckReader(inputs), again(RECORDED[form], 1)
    texts = [b"a" * (size % 60) for size in range(200)]
    bodies = [b'{"jsonrpc":"2.0","id":%d,"method":"x/' + text + b'"}' for text in texts]
    sent = [ask_for(data, f"/finance/accounts/{n:06d}") for n in range(100)]
    for number in range(100):
        message = pb.CheckRequest.FromString(sent[0])
        set_header(message, TOKEN, b"Bearer %0525d" % number)
        sent.append(message.SerializeToString())
    sent += [ask_for(data, "/finance/accounts/0", body % n) for n, body in enumerate(bodies)]
    for known in [*sent[:3], *sent[100:103], *sent[-3:]]:
        read(reader, known)
    learned = len(full_readings)
    found = [read(reader, one) for one in sent]
    assert len(full_readings) == learned
    assert found == [full(inputs, one) for one in sent]


HEADERS = (ID, TRACEPARENT, TOKEN, ":path", "content-length")
CHANGED: list[tuple[str, Any]] = [
    ("path", "/finance/another/path"),
    ("raw_body", b"another body of the request"),
    ("size", 99),
    *((name, more) for name in HEADERS for more in (False, True)),
]


@pytest.mark.parametrize(("what", "value"), CHANGED)
def test_a_value_that_is_read_otherwise_than_it_was_cut(what: str, value: Any) -> None:
    """An outline is tried out only with a message of which each value is what it looks like."""
    body = b'{"jsonrpc":"2.0","method":"ping"}'
    data = ask_for(again(RECORDED["raw-traced"], 1), "/finance/accounts/7", body)
    cutter = Cutter()
    cutter.learn(data)
    cut = cutter.cut(data)
    message = pb.CheckRequest.FromString(data)
    assert cut is not None
    assert all(place.stop for place in cut.layout.places)
    assert is_as_cut(message, cut)

    if what in HEADERS:
        set_header(message, what, b"another", more=value)
    else:
        setattr(message.attributes.request.http, what, value)
    assert not is_as_cut(message, cut)


def test_an_empty_body_is_not_that_of_an_earlier_message() -> None:
    """A body of no bytes is read as one, where the known ones have some."""
    inputs = INPUTS["messages"]
    reader, data = CheckReader(inputs), again(RECORDED["raw-traced"], 1)
    sent = ask_for(data, "/finance/a", b'{"jsonrpc":"2.0","method":"ping"}')
    for _ in range(3):
        assert read(reader, sent) == full(inputs, sent)

    before, body, after = sent.partition(b'b!{"jsonrpc":"2.0","method":"ping"}')
    emptied = with_lengths(before + b"b\0" + after, whole=-33, request=-33)
    assert body
    assert full(inputs, emptied) is not None
    assert read(reader, emptied) == full(inputs, emptied)


def test_a_text_behind_an_emptied_body() -> None:
    """Where the body in bytes is empty, a text may be the body: what is short is not cut out."""
    inputs, text = INPUTS["messages"], b'{"jsonrpc":"2.0","method":"a"}'
    reader, body = CheckReader(inputs), b"b!" + b"b" * 33
    sent = ask_for(
        again(RECORDED["raw-traced"], 1), "/finance/a", body[2:], length=b"%d" % len(text)
    )
    before, _, after = sent.partition(body)
    field = b"Z" + bytes([len(text)]) + text
    more = len(field)
    both = with_lengths(before + body + field + after, whole=more, request=more)
    for _ in range(3):
        assert read(reader, both) == full(inputs, both)
    assert len(reader._known) == 1

    more -= 33
    emptied = with_lengths(before + b"b\0" + field + after, whole=more, request=more)
    emptied = emptied.replace(b"H!R", b"H" + bytes([len(text)]) + b"R")
    check = full(inputs, emptied)
    assert check is not None
    assert check.request.unread is None
    assert read(reader, emptied) == check


def test_a_size_that_is_no_number() -> None:
    """A size of more than 64 bits is read as in full, which takes the lower 64."""
    inputs, body = INPUTS["messages"], b'{"jsonrpc":"2.0","method":"ping"}'
    reader = CheckReader(inputs)
    data = ask_for(again(RECORDED["raw-traced"], 1), "/finance/a", body)
    before, _, after = data.partition(b"H!R")

    def sized(size: bytes) -> bytes:
        more = len(size) - 1
        return with_lengths(before + b"H" + size + b"R" + after, whole=more, request=more)

    for _ in range(3):
        reader.read(sized(b"\x80" * 8 + b"\x40"), "")
    odd = sized(bytes([len(body) | 0x80]) + b"\x80" * 8 + b"\x02")
    check = full(inputs, odd)
    assert check is not None
    assert check.request.unread is None
    assert read(reader, odd) == check


def test_a_body_whose_length_is_longer_than_it_looks() -> None:
    """A length of three bytes is not taken for one of two, with the third in the body."""
    inputs = INPUTS["messages"]
    reader, data = CheckReader(inputs), again(RECORDED["raw-traced"], 1)
    body = b'{"jsonrpc":"2.0","method":"%s"}' % (b"x" * 200)
    sent = ask_for(data, "/finance/a", body)
    for _ in range(3):
        assert read(reader, sent) == full(inputs, sent)

    at = sent.index(body)
    longer = bytearray(sent)
    longer[at - 1] |= 0x80
    longer[at] = 0
    assert read(reader, bytes(longer)) == full(inputs, bytes(longer))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (":path", b"/finance/accounts/7/balance"),  # as it is
        ("content-length", b"42"),  # as it is in a trial with other digits, 43
    ],
)
def test_a_text_within_a_header_that_agrees_with_it(name: str, value: bytes) -> None:
    """A text that looks like a header, and says what the header says, is not taken for it."""
    inputs = INPUTS["messages"]
    body = b'{"jsonrpc":"2.0","method":"%s"}' % (b"x" * 14)
    message = pb.CheckRequest.FromString(
        ask_for(again(RECORDED["raw-traced"], 1), "/finance/accounts/7/balance", body)
    )
    headers = message.attributes.request.http.header_map.headers
    text = b"\n" + bytes([len(name)]) + name.encode() + b"\x1a" + bytes([len(value)]) + value
    headers.insert(0, pb.HeaderValue(key="x-a", raw_value=text))
    reader, data = CheckReader(inputs), message.SerializeToString()
    for _ in range(6):
        assert read(reader, data) == full(inputs, data)
    assert len(body) == 43
    assert not len(reader._known)


def test_two_orders_of_headers_in_messages_as_long(full_readings: list[bool]) -> None:
    """Messages of one length whose headers come in two orders are both known."""
    message = pb.CheckRequest.FromString(again(RECORDED["raw-traced"], 1))
    headers = message.attributes.request.http.header_map.headers
    first = message.SerializeToString()
    reversed_headers = list(headers)[::-1]
    del headers[:]
    headers.extend(reversed_headers)
    second = message.SerializeToString()
    reader = CheckReader(INPUTS["common"])
    for _ in range(4):
        reader.read(first, "")
        reader.read(second, "")
    learned = len(full_readings)
    for number in range(2, 9):
        for data in (first, second):
            assert reader.read(again(data, number), "").request_id == f"{number:036x}"
    assert len(full_readings) == learned


@pytest.mark.parametrize("kind", ["request id", "trace"])
def test_a_value_that_rules_read_is_never_cut_out(kind: str, full_readings: list[bool]) -> None:
    """A config whose rules read such a header has each message read in full."""
    reader = CheckReader(INPUTS[kind])
    for number in range(1, 20):
        reader.read(again(RECORDED["raw-traced"], number), "")

    assert len(full_readings) >= 19
    assert not len(reader._known)


def test_a_text_that_looks_like_a_header() -> None:
    """A body that an agent wrote to look like the header is no header, and no part of an id."""
    reader = CheckReader(INPUTS["messages"])
    for digit in b"000111":
        message = pb.CheckRequest.FromString(RECORDED["raw-plain"])
        message.attributes.request.http.raw_body = b"\n\x0cx-request-id\x1a$" + bytes([digit]) * 36
        data = message.SerializeToString()
        assert reader.read(data, "") == full(INPUTS["messages"], data)
    assert not len(reader._known)


def test_a_proof_is_never_known() -> None:
    """A message with a proof is read in full: the name of its attempt is in the values."""
    reader, attempts = CheckReader(INPUTS["proofs"]), set()
    for number in range(1, 10):
        message = pb.CheckRequest.FromString(again(RECORDED["raw-traced"], number))
        set_header(message, "dpop", b"proof")
        attempts.add(reader.read(message.SerializeToString(), "").attempt)

    assert len(attempts) == 9
    assert not len(reader._known)


def test_each_proxy_has_its_own() -> None:
    """What was read for a proxy is not given to another."""
    reader, data = CheckReader(INPUTS["common"]), RECORDED["raw-traced"]
    proxies = ["spiffe://corp.example/a", "spiffe://corp.example/b"]
    for number in range(1, 9):
        for proxy in proxies:
            assert reader.read(again(data, number), proxy).request.proxy == proxy


def test_a_new_snapshot_knows_nothing(world: World) -> None:
    """Messages that were read by one config are read anew by the next."""
    message = check_request(world.svid, [("authorization", f"Bearer {world.token()}")])
    message.attributes.source.address.socket_address.address = "10.1.2.3"
    message.attributes.destination.principal = "spiffe://corp.example/gateway"
    for number in range(1, 6):
        assert reason_of(world.check(again(message.SerializeToString(), number))) == "allow"
    before = world.authorization._reader
    assert len(before._known) == 1
    world.parts.reconfigure(world.config)
    assert reason_of(world.check(again(message.SerializeToString(), 6))) == "allow"

    assert world.authorization._reader is not before
    assert not len(world.authorization._reader._known)
