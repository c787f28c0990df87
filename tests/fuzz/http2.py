"""HTTP/2 fuzzed: a hostile client sends frames of any kind, and octets that are no frames.

The owner answers some requests at once, some later or in parts, and resets some. References are
hyperframe and hpack, which read all output, and the same connection without its short cut.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import hpack
from hypothesis import strategies as st

from authz.transports.http2 import ErrorCode, Limits, Rate, Refused, Request, ServerConnection
from fuzz import honest_client, hostile_client
from fuzz.honest_client import body_of
from support.http2 import (
    DATA,
    FIELDS_TOO_LARGE,
    GOAWAY,
    HEAD,
    HEADERS,
    PREFACE,
    REFUSAL,
    RST_STREAM,
    TOO_LARGE,
    TRAILERS,
    WINDOW_UPDATE,
    judged,
    read_frames,
)

Draw = Callable[..., Any]

LIMITS = Limits(
    too_large=TOO_LARGE,
    fields_too_large=FIELDS_TOO_LARGE,
    max_streams=6,
    max_body_bytes=1000,
    max_buffered_bytes=2000,
    max_list_bytes=1000,
    max_fields=12,
    max_block_bytes=2000,
    max_continuations=3,
    max_output_bytes=2000,
    max_pending_bytes=3000,
    max_control_bytes=300,
    connection_window=3000,
    stream_window=700,
    max_remembered_blocks=4,
    max_remembered_resets=4,
    provoked_resets=Rate(burst=20, per_second=1),
    small_data=Rate(burst=20, per_second=1),
)
_FRAME_BYTES: Final = 9 + (1 << 14)
_ANSWER_BYTES: Final = 5000  # the largest of the owner's
MAX_BYTES: Final = (
    _FRAME_BYTES  # that is not whole
    + LIMITS.max_block_bytes
    + _FRAME_BYTES  # that makes a field block too long
    + LIMITS.max_buffered_bytes
    + LIMITS.max_pending_bytes
    + LIMITS.max_output_bytes
    + _ANSWER_BYTES  # which fills the output
    + LIMITS.max_control_bytes
    + 13 * LIMITS.provoked_resets.burst
    + 1000  # credit for what came
)


@dataclass
class Played:
    """What a connection made of the steps.

    Attributes:
        events: all of them, in order.
        output: all that was written.
        wrong: what must not be, "" for nothing.
        asked: the streams of requests so far.
        waiting: those of them that are answered later.
    """

    events: list[Any] = field(default_factory=list)
    output: bytes = b""
    wrong: str = ""
    asked: set[int] = field(default_factory=set)
    waiting: list[int] = field(default_factory=list)


def check(serve: honest_client.Serve, draw: Draw) -> tuple[str, str]:
    """Play a drawn connection: how it ended, and what is wrong with it, "" when nothing is."""
    if draw(st.integers(0, 3)) == 0:
        return "honest", honest_client.check(serve, draw)
    steps = list(hostile_client.steps(draw))
    plan = draw(st.binary(min_size=1, max_size=8))
    server, other = (serve(judged, LIMITS, 0.0, takes_short_cuts=takes) for takes in (True, False))
    played = _play(server, steps, plan)
    alike = _play(other, steps, plan)
    ended = server.fault.code.name if server.fault else "no fault"
    octets = b"".join(step.octets for step in steps)
    wrong = played.wrong or alike.wrong or _wrong_output(played)
    if (played.events, played.output) != (alike.events, alike.output):
        wrong = wrong or "short cuts make a difference"
    if not octets.startswith(PREFACE) and any(isinstance(e, Request) for e in played.events):
        wrong = wrong or "a request without a preface"
    return ended, wrong and f"{wrong}: {steps!r}, plan {plan!r}"


def _play(server: ServerConnection[bytes], steps: list[hostile_client.Step], plan: bytes) -> Played:
    """Give a connection what comes, and end it; the owner does as the plan says."""
    played, now = Played(), 0.0
    for step in steps:
        at = step.cut * len(step.octets) // 255
        _hear(server, played, server.receive(step.octets[:at], now), plan)
        _hear(server, played, server.receive(step.octets[at:], now), plan)
        if step.takes:
            played.output += b"".join(iter(server.take_output, b""))
        if step.seconds:
            now += step.seconds
            played.events += server.expire(now)
    for stream_id in played.waiting:
        server.respond(stream_id, HEAD, body_of(stream_id, 3), TRAILERS)
    played.output += b"".join(iter(server.take_output, b""))
    played.events += server.hang_up()
    if server.buffered_bytes:
        played.wrong = played.wrong or "something is held of a connection that is gone"
    return played


def _hear(server: ServerConnection[bytes], played: Played, events: list[Any], plan: bytes) -> None:
    """Take events as the owner does."""
    played.events += events
    for event in events:
        if isinstance(event, Request):
            if event.stream_id in played.asked:
                played.wrong = "a request came twice"
            played.asked.add(event.stream_id)
            _act(server, played, event.stream_id, plan)
    if server.buffered_bytes > MAX_BYTES:
        played.wrong = f"{server.buffered_bytes} bytes held"


def _act(server: ServerConnection[bytes], played: Played, stream_id: int, plan: bytes) -> None:
    """Do with a request what the plan says, and answer one that waits."""
    choice = plan[stream_id // 2 % len(plan)]
    what, times = choice % 6, choice * 4
    if what == 0:
        played.waiting.append(stream_id)
        return
    if what == 1:
        _answer_in_parts(server, stream_id, choice)
    elif what == 2:
        server.reset(stream_id, ErrorCode.CANCEL)
    elif what == 3:
        server.refuse(stream_id, Refused(REFUSAL, body_of(stream_id, times)))
    else:
        server.respond(stream_id, HEAD, body_of(stream_id, times), TRAILERS)
    if choice & 64 and played.waiting:
        waited = played.waiting.pop()
        server.respond(waited, HEAD, body_of(waited, times), TRAILERS)


def _answer_in_parts(server: ServerConnection[bytes], stream_id: int, choice: int) -> None:
    server.begin(stream_id, HEAD)
    server.send(stream_id, body_of(stream_id, choice), replaces=bool(choice & 8))
    server.send(stream_id, body_of(stream_id, 2), replaces=bool(choice & 16))
    if choice & 32:
        server.finish(stream_id, TRAILERS)


def _wrong_output(played: Played) -> str:
    """Read all that was written as a client does; return what is wrong with it."""
    streams: dict[int, list[Any]] = {}
    read = read_frames(played.output)  # fails by itself
    for at, one in enumerate(read):
        if one.type == GOAWAY and one.error_code and at != len(read) - 1:
            return "a frame after the last GOAWAY"
        if one.stream_id:
            streams.setdefault(one.stream_id, []).append(one)
    decoder = hpack.Decoder()
    for one in read:  # in the order of the connection, as the table's updates come
        if one.type == HEADERS:
            if "END_HEADERS" not in one.flags:
                return "a block in pieces, which fits into a frame"
            decoder.decode(one.data, raw=True)
    requests = {event.stream_id for event in played.events if isinstance(event, Request)}
    return next(filter(None, (_wrong_stream(i, fs, requests) for i, fs in streams.items())), "")


def _wrong_stream(stream_id: int, frames: list[Any], requests: set[int]) -> str:
    """Return what is wrong with the frames of a stream."""
    state = "begin"
    for one in frames:
        if one.type == WINDOW_UPDATE and state == "begin":
            continue
        if one.type == RST_STREAM and state != "reset":
            state = "reset"
        elif one.type == HEADERS and state in {"begin", "begun"}:
            state = "ended" if "END_STREAM" in one.flags else "begun"
        elif one.type == DATA and state == "begun":
            state = "ended" if "END_STREAM" in one.flags else state
        else:
            return f"frame {one} on stream {stream_id}, which is {state}"
    content = b"".join(one.data for one in frames if one.type == DATA)
    if stream_id in requests and not (body_of(stream_id, len(content)) + b" ").startswith(content):
        return f"stream {stream_id} got {content!r}"
    return "" if stream_id in requests or content in b"not here" else "content without a request"
