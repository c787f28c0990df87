"""A client of the h2 library and a server connection: every call is answered once, with its own.

The client is honest, in random order: calls in pieces, windows, settings, resets, pings. It checks
all that the server sends, and raises for what breaks the protocol.
"""

from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.settings import SettingCodes
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from authz.transports.http2 import Abandoned, Limits, Request, ServerConnection, TurnedAway
from support.http2 import (
    FIELDS_TOO_LARGE,
    HEAD,
    REFUSED_PATH,
    TOO_LARGE,
    TRAILERS,
    judged,
)

LIMITS = Limits(
    too_large=TOO_LARGE,
    fields_too_large=FIELDS_TOO_LARGE,
    max_streams=20,
    max_output_bytes=2000,
    stream_window=70_000,
    connection_window=100_000,
)


class Calls(RuleBasedStateMachine):
    """What was asked, what was answered, and what is on its way in both directions."""

    def __init__(self) -> None:
        """Open a connection, and let both ends say who they are."""
        super().__init__()
        self.client = H2Connection(H2Configuration(client_side=True))
        self.server: ServerConnection[bytes] = ServerConnection(judged, LIMITS, 0.0)
        self.to_server = b""
        self.to_client = b""
        self.asked: dict[int, bytearray] = {}
        self.open: dict[int, bytearray] = {}
        self.requests: dict[int, bytes] = {}
        self.answers: dict[int, bytes] = {}
        self.refused: set[int] = set()
        self.reset: set[int] = set()
        self.got: dict[int, bytearray] = {}
        self.ends: dict[int, str] = {}
        self.client.initiate_connection()
        self.settle()

    # Calls.

    @precondition(lambda self: self.client.open_outbound_streams < 20)
    @rule(path=st.sampled_from([b"/a", b"/b", b"/c", REFUSED_PATH]), extra=st.integers(0, 5))
    def begin(self, path: bytes, extra: int) -> None:
        """Open a call, with fields that change the table."""
        stream_id = self.client.get_next_available_stream_id()
        named = [(b"x-id", b"%d" % extra)] if extra else []
        pseudo = [(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"authz")]
        self.client.send_headers(stream_id, [*pseudo, (b":path", path), *named])
        self.open[stream_id] = bytearray()
        if path == REFUSED_PATH:
            self.refused.add(stream_id)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), size=st.integers(0, 20_000), ends=st.booleans(), pad=st.integers(0, 9))
    def ask(self, data: st.DataObject, size: int, ends: bool, pad: int) -> None:  # noqa: FBT001 - drawn
        """Send a part of a request, as far as the windows allow."""
        stream_id = data.draw(st.sampled_from(sorted(self.open)))
        size = min(size, self.client.local_flow_control_window(stream_id) - 10)
        octets = (b"%d." % stream_id * 7000)[: min(max(size, 0), 16_000)]
        if self.client.local_flow_control_window(stream_id) < 10:
            return
        self.client.send_data(stream_id, octets, end_stream=ends, pad_length=pad or None)
        self.open[stream_id] += octets
        if ends:
            self.asked[stream_id] = self.open.pop(stream_id)

    @precondition(lambda self: self.requests.keys() - self.answers.keys())
    @rule(data=st.data(), size=st.integers(0, 40_000))
    def answer(self, data: st.DataObject, size: int) -> None:
        """Let the owner answer a request."""
        waiting = sorted(self.requests.keys() - self.answers.keys())
        stream_id = data.draw(st.sampled_from(waiting))
        body = (b"answer to %d." % stream_id * 4000)[:size]
        self.answers[stream_id] = body
        self.server.respond(stream_id, HEAD, body, TRAILERS)

    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        """Reset a call."""
        candidates = sorted((self.open.keys() | self.asked.keys()) - self.ends.keys())
        if candidates:
            stream_id = data.draw(st.sampled_from(candidates))
            self.client.reset_stream(stream_id)
            self.open.pop(stream_id, None)
            self.reset.add(stream_id)
            self.ends[stream_id] = "given up"

    # The connection.

    @rule(
        size=st.sampled_from([0, 1, 100, 65_535, 200_000]), frame=st.sampled_from([16_384, 50_000])
    )
    def change_settings(self, size: int, frame: int) -> None:
        """Change the window of streams, the table, the largest frame."""
        self.client.update_settings({
            SettingCodes.INITIAL_WINDOW_SIZE: size,
            SettingCodes.MAX_FRAME_SIZE: frame,
            SettingCodes.HEADER_TABLE_SIZE: size % 4097,
        })  # fmt: skip

    @rule()
    def ping(self) -> None:
        """Send a PING."""
        self.client.ping(b"12345678")

    @rule(data=st.data(), increment=st.integers(1, 60_000))
    def widen(self, data: st.DataObject, increment: int) -> None:
        """Give credit to a stream, and to the connection."""
        live = sorted((self.asked.keys() | self.open.keys()) - self.ends.keys())
        if live:
            self.client.increment_flow_control_window(increment, data.draw(st.sampled_from(live)))
        if self.client.inbound_flow_control_window < 1 << 20:
            self.client.increment_flow_control_window(increment)

    @rule(cut=st.integers(0, 3000))
    def carry(self, cut: int) -> None:
        """Let some bytes reach the server, and some the client."""
        self.to_server += self.client.data_to_send()
        octets, self.to_server = self.to_server[:cut], self.to_server[cut:]
        self._serve(octets)
        self.to_client += self.server.take_output()
        octets, self.to_client = self.to_client[:cut], self.to_client[cut:]
        # h2 reads bytes by the largest frame that held before them, so an acknowledgement that
        # changes it and the next frame's head, of nine bytes, must not come at once.
        for at in range(0, len(octets), 9):
            for event in self.client.receive_data(octets[at : at + 9]):
                self._take(event)

    @rule()
    def settle(self) -> None:
        """Let all bytes reach the other end."""
        while True:
            self.to_server += self.client.data_to_send()
            self.to_client += self.server.take_output()
            if not self.to_server and not self.to_client:
                return
            self.carry(1 << 20)

    def teardown(self) -> None:
        """Finish everything: what was asked is answered, with its own bytes."""
        for stream_id in sorted(self.open):
            self.settle()
            if stream_id not in self.ends:
                self.client.end_stream(stream_id)
                self.asked[stream_id] = self.open[stream_id]
        self.client.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1 << 24})
        self.client.increment_flow_control_window(1 << 26)
        self.settle()
        for stream_id in sorted(self.requests.keys() - self.answers.keys()):
            self.answers[stream_id] = b"late %d" % stream_id
            self.server.respond(stream_id, HEAD, self.answers[stream_id], TRAILERS)
        self.settle()
        for stream_id in self.asked.keys() - self.reset:
            assert self.ends[stream_id] == "answered"
            if stream_id not in self.refused:
                assert self.requests[stream_id] == self.asked[stream_id]
                assert self.got[stream_id] == self.answers[stream_id]
        assert self.server.is_idle
        assert self.server.buffered_bytes == 0

    @invariant()
    def nothing_is_wrong(self) -> None:
        """An honest client is never told off, and counts add up."""
        assert self.server.fault is None
        counts = (self.server.receiving, self.server.answering, self.server.sending)
        assert min(counts) >= 0
        assert sum(counts) <= 20

    def _serve(self, octets: bytes) -> None:
        for event in self.server.receive(octets, 0.0):
            if isinstance(event, Request):
                assert event.stream_id not in self.requests
                assert event.stream_id not in self.refused
                self.requests[event.stream_id] = event.body
            elif isinstance(event, TurnedAway):
                assert self.refused
            else:
                assert isinstance(event, Abandoned)
                assert event.stream_id in self.reset
                assert event.stream_id not in self.answers
                self.answers[event.stream_id] = b""

    def _take(self, event: Event) -> None:
        kinds: Any = (DataReceived, ResponseReceived, TrailersReceived, StreamEnded)
        assert not isinstance(event, ConnectionTerminated)
        if isinstance(event, StreamReset):
            assert event.stream_id in self.refused
            assert event.error_code == 0
            self.open.pop(event.stream_id, None)
        elif isinstance(event, kinds) and event.stream_id in self.reset:
            return
        elif isinstance(event, DataReceived):
            self.got.setdefault(event.stream_id, bytearray()).extend(event.data)
        elif isinstance(event, ResponseReceived):
            self.got.setdefault(event.stream_id, bytearray())
        elif isinstance(event, StreamEnded):
            assert event.stream_id not in self.ends
            self.ends[event.stream_id] = "answered"


TestCalls = Calls.TestCase
TestCalls.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
