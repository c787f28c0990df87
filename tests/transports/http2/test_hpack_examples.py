"""Header compression: each example of RFC 7541 appendix C, with the table that it leaves."""

import pytest

from authz.transports.http2.hpack import Field
from authz.transports.http2.hpack.integers import read_integer, write_integer
from support.header_blocks import decoder, table_of


@pytest.mark.parametrize(
    ("value", "prefix", "octets"),
    [(10, 0x1F, "0a"), (1337, 0x1F, "1f9a0a"), (42, 0xFF, "2a")],
    ids=["C.1.1", "C.1.2", "C.1.3"],
)
def test_integers_are_read_and_written(value: int, prefix: int, octets: str) -> None:
    """An integer is written as the example is, and read back."""
    assert write_integer(value, prefix, 0) == bytes.fromhex(octets)
    assert read_integer(bytes.fromhex(octets), 0, prefix) == (value, len(octets) // 2)


@pytest.mark.parametrize(
    ("block", "field", "table_bytes"),
    [
        (
            "400a637573746f6d2d6b65790d637573746f6d2d686561646572",
            (b"custom-key", b"custom-header"),
            55,
        ),
        ("040c2f73616d706c652f70617468", (b":path", b"/sample/path"), 0),
        ("100870617373776f726406736563726574", (b"password", b"secret"), 0),
        ("82", (b":method", b"GET"), 0),
    ],
    ids=["C.2.1", "C.2.2", "C.2.3", "C.2.4"],
)
def test_each_representation_is_read(block: str, field: Field, table_bytes: int) -> None:
    """A field is read in each representation; only the first enters the table."""
    reader = decoder()
    assert reader.decode(bytes.fromhex(block)) == (field,)
    assert table_of(reader) == ([field] if table_bytes else [])
    assert reader._used_bytes == table_bytes


REQUEST = ((b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"))
AUTHORITY = (b":authority", b"www.example.com")
NO_CACHE = (b"cache-control", b"no-cache")
CUSTOM = (b"custom-key", b"custom-value")
REQUESTS = [
    (*REQUEST, AUTHORITY),
    (*REQUEST, AUTHORITY, NO_CACHE),
    ((b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/index.html"), AUTHORITY, CUSTOM),
]
REQUEST_TABLES = [
    ([AUTHORITY], 57),
    ([NO_CACHE, AUTHORITY], 110),
    ([CUSTOM, NO_CACHE, AUTHORITY], 164),
]

STATUS_302, STATUS_307 = (b":status", b"302"), (b":status", b"307")
PRIVATE = (b"cache-control", b"private")
DATE_21 = (b"date", b"Mon, 21 Oct 2013 20:13:21 GMT")
DATE_22 = (b"date", b"Mon, 21 Oct 2013 20:13:22 GMT")
LOCATION = (b"location", b"https://www.example.com")
GZIP = (b"content-encoding", b"gzip")
COOKIE = (b"set-cookie", b"foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1")
RESPONSES = [
    (STATUS_302, PRIVATE, DATE_21, LOCATION),
    (STATUS_307, PRIVATE, DATE_21, LOCATION),
    ((b":status", b"200"), PRIVATE, DATE_22, LOCATION, GZIP, COOKIE),
]
RESPONSE_TABLES = [
    ([LOCATION, DATE_21, PRIVATE, STATUS_302], 222),
    ([STATUS_307, LOCATION, DATE_21, PRIVATE], 222),
    ([COOKIE, GZIP, DATE_22], 215),
]

PLAIN_REQUESTS = [
    "828684410f7777772e6578616d706c652e636f6d",
    "828684be58086e6f2d6361636865",
    "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
]
CODED_REQUESTS = [
    "828684418cf1e3c2e5f23a6ba0ab90f4ff",
    "828684be5886a8eb10649cbf",
    "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
]
PLAIN_RESPONSES = [
    (
        "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d54"
        "6e1768747470733a2f2f7777772e6578616d706c652e636f6d"
    ),
    "4803333037c1c0bf",
    (
        "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f"
        "3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076"
        "657273696f6e3d31"
    ),
]
CODED_RESPONSES = [
    (
        "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f"
        "0b97c8e9ae82ae43d3"
    ),
    "4883640effc1c0bf",
    (
        "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335df"
        "dfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007"
    ),
]


@pytest.mark.parametrize(
    "blocks", [PLAIN_REQUESTS, CODED_REQUESTS], ids=["C.3 plain", "C.4 Huffman"]
)
def test_requests_are_read(blocks: list[str]) -> None:
    """Three requests of a connection are read, and leave the tables that the examples print."""
    reader = decoder()
    for block, fields, (table, size) in zip(blocks, REQUESTS, REQUEST_TABLES, strict=True):
        assert reader.decode(bytes.fromhex(block)) == fields
        assert (table_of(reader), reader._used_bytes) == (table, size)


@pytest.mark.parametrize(
    "blocks", [PLAIN_RESPONSES, CODED_RESPONSES], ids=["C.5 plain", "C.6 Huffman"]
)
def test_responses_are_read_with_evictions(blocks: list[str]) -> None:
    """Three responses are read with a table of 256 bytes, whose old entries are evicted."""
    reader = decoder(max_table_bytes=256)
    for block, fields, (table, size) in zip(blocks, RESPONSES, RESPONSE_TABLES, strict=True):
        assert reader.decode(bytes.fromhex(block)) == fields
        assert (table_of(reader), reader._used_bytes) == (table, size)
