"""A real HTTP/2 client fuzzed: h2 makes calls, with frames between that any client may send.

It has to be answered, and raises for what breaks the protocol.
"""

from collections.abc import Callable
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes
from hypothesis import strategies as st

from authz.transports.http2 import Limits, Request, ServerConnection
from support.http2 import (
    DATA,
    FIELDS_TOO_LARGE,
    HEAD,
    PADDED,
    PING,
    POST,
    PRIORITY,
    TOO_LARGE,
    TRAILERS,
    WINDOW_UPDATE,
    frame,
    judged,
)

Draw = Callable[..., Any]
Serve = Callable[..., ServerConnection[bytes]]
LIMITS = Limits(too_large=TOO_LARGE, fields_too_large=FIELDS_TOO_LARGE, max_streams=6)
HARMLESS = st.sampled_from(
    [
        lambda _: frame(PING, 0, 0, b"12345678"),
        lambda stream_id: frame(PRIORITY, 0, stream_id, b"\0\0\0\x0c\x10"),
        lambda stream_id: frame(0x40, 0xFF, stream_id, b"unknown"),
        lambda stream_id: frame(DATA, PADDED, stream_id, b"\x03\0\0\0"),
        lambda _: frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1"),
    ]
)


def body_of(stream_id: int, times: int) -> bytes:
    """Return a content that names its stream again and again."""
    return b"%d;" % stream_id * times


def check(serve: Serve, draw: Draw) -> str:
    """Have some calls made; return what is wrong with the answers, "" for nothing."""
    client = H2Connection(H2Configuration(client_side=True))
    server = serve(judged, LIMITS, 0.0, takes_short_cuts=draw(st.booleans()))
    client.initiate_connection()
    client.update_settings(_settings(draw))
    got: dict[int, bytes] = {}
    try:
        for _ in range(draw(st.integers(1, 5))):
            stream_id = client.get_next_available_stream_id()
            got[stream_id] = b""
            _carry(server, client, got, _call(client, draw, stream_id), draw(st.integers(0, 255)))
        client.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1 << 20})
        _carry(server, client, got, client.data_to_send(), 0)
    except ProtocolError as error:
        return f"h2 refuses what the server wrote: {error!r}"
    if server.fault:
        return f"an honest client is told {server.fault}"
    missed = [n for n, content in got.items() if content != _answer(n)]
    return f"wrong answers to {missed}" if missed else ""


def _answer(stream_id: int) -> bytes:
    return body_of(stream_id, 1 + stream_id * 40)


def _settings(draw: Draw) -> dict[int, int]:
    return {
        SettingCodes.INITIAL_WINDOW_SIZE: draw(st.sampled_from([0, 1, 100, 65_535])),
        SettingCodes.MAX_FRAME_SIZE: draw(st.sampled_from([16_384, 20_000])),
        SettingCodes.HEADER_TABLE_SIZE: draw(st.sampled_from([0, 100, 4096])),
    }


def _call(client: H2Connection, draw: Draw, stream_id: int) -> bytes:
    """Write a call in two frames, with some between that mean nothing for it."""
    more = [(b"x-%d" % n, b"v") for n in range(draw(st.integers(0, 3)))]
    client.send_headers(stream_id, [*POST, *more])
    opened = client.data_to_send()
    between = b"".join(one(stream_id) for one in draw(st.lists(HARMLESS, max_size=3)))
    client.send_data(stream_id, body_of(stream_id, draw(st.integers(0, 300))), end_stream=True)
    return opened + between + client.data_to_send()


def _carry(
    server: ServerConnection[bytes],
    client: H2Connection,
    got: dict[int, bytes],
    octets: bytes,
    cut: int,
) -> None:
    """Let both ends hear of each other until neither has more to say."""
    while octets:
        at = cut * len(octets) // 255
        for piece in (octets[:at], octets[at:]):
            for event in server.receive(piece, 0.0):
                if isinstance(event, Request):
                    server.respond(event.stream_id, HEAD, _answer(event.stream_id), TRAILERS)
        for heard in client.receive_data(b"".join(iter(server.take_output, b""))):
            if isinstance(heard, DataReceived):
                got[heard.stream_id] += heard.data
        octets = client.data_to_send()
