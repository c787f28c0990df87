"""The limits of a connection's cost: each limit that is not HTTP/2's own, with its reason.

A rate is a bucket of tokens: ``burst`` at first, refilled by ``per_second``, and by ``per_stream``
for each further stream that the client opens. So frames that honest clients send with their calls
(window updates, gRPC's pings to estimate bandwidth) are limited in proportion to the calls, which
cost the client more than us. An overrun ends the connection with ENHANCE_YOUR_CALM.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Rate:
    """How often something may happen.

    Attributes:
        burst: times at once.
        per_second: times a second, continuously.
        per_stream: times for each stream that the client opens.
    """

    burst: int
    per_second: int
    per_stream: int = 0


# RST_STREAM for open calls (CVE-2023-44487, rapid reset). Envoy under overload resets every call
# that timed out: with max_streams open and a timeout of 200 ms that is 5,000 a second, and twice
# that if its streams are renewed at once. An attacker's reset saves us the answer, and the owner
# drops the call from its queue. The remaining work is to read the headers, which this bounds to a
# few hundredths of a core.
RESETS: Final = Rate(burst=20_000, per_second=10_000)

# RST_STREAM that a client makes us send (CVE-2025-8671): malformed requests, frames on ended
# streams, invalid windows, streams above the limit. Honest clients cause none of these, except
# streams above the limit that they opened before they had read our SETTINGS: up to a full load of
# another server.
PROVOKED_RESETS: Final = Rate(burst=2000, per_second=100)

# SETTINGS, each with an acknowledgement that we owe. gRPC sends a few while it estimates bandwidth.
# Every 16 settings in one frame count once more.
SETTINGS_FRAMES: Final = Rate(burst=100, per_second=10)

# PING, each with an acknowledgement that we owe. Proxies send about one a second; gRPC's estimate
# of bandwidth up to one for each round trip in which data arrives: each call.
PINGS: Final = Rate(burst=100, per_second=10, per_stream=2)

# WINDOW_UPDATE. nghttp2 and gRPC send up to two for each answer: for the stream, the connection.
WINDOW_UPDATES: Final = Rate(burst=2000, per_second=1000, per_stream=4)

# PRIORITY, frames of unknown types, GOAWAY, RST_STREAM and HEADERS for ended streams: all frames
# without effect. Old browsers begin with five PRIORITY; some clients reset each stream whose answer
# came early.
IDLE_FRAMES: Final = Rate(burst=1000, per_second=100, per_stream=2)

# DATA of less than SMALL_DATA_BYTES that does not end its stream, empty ones too (CVE-2019-9518):
# a megabyte in frames of one byte would be a million frames. Proxies send a request's content as
# it reaches them, in pieces of kilobytes, and the last one ends the stream.
SMALL_DATA: Final = Rate(burst=2000, per_second=200, per_stream=4)
SMALL_DATA_BYTES: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of a connection.

    Attributes:
        too_large: the HPACK block that answers a request whose content is too large.
        fields_too_large: the HPACK block that answers a request with too large a field section.
        max_body_bytes: of a request's content. Envoy's largest check with a body is 4 MiB by ours.
        max_buffered_bytes: of the content of all unfinished requests: four of the largest.
        max_streams: open at once (5.1.2). Envoy obeys the setting; a thousand calls of 0.2 s are
            5,000 a second, more than one process can decide.
        stream_window: bytes that may be in transit for a stream (6.9.2). Larger than almost all
            checks, so that these need no update.
        connection_window: the same for all streams: a few of the largest at full speed. Credit is
            given back as bytes arrive, so neither window ever blocks a message forever.
        max_list_bytes: of a field section, as SETTINGS_MAX_HEADER_LIST_SIZE counts (6.5.2). gRPC's
            own limit is 16 KiB at most.
        max_fields: in a section. Each field is a step of work for its reader.
        max_block_bytes: of a field block as sent. A block that is too long to be accepted is still
            decoded, so that the table stays correct; beyond this limit the connection ends.
        max_continuations: CONTINUATION frames of a block (CVE-2024-27316). max_block_bytes needs
            four; senders of smaller pieces get a few more.
        max_remembered_blocks: field blocks whose reading is remembered. One client has few.
        max_remembered_bytes: of a block that is remembered.
        max_remembered_resets: streams that we are known to have ended, so that frames in transit
            are not a fault of the client. Older streams get the benefit of the doubt.
        max_output_bytes: written at once, before the owner took them. Further answers wait.
        max_pending_bytes: of answers that wait for the client's windows. Beyond it the oldest is
            reset: a client with closed windows costs this much and no more.
        max_control_bytes: of acknowledgements written since the owner last took output. The owner
            continues to read only if the client reads, so a client with more of them reads nothing.
        preface_seconds: until the client's preface and SETTINGS, and its acknowledgement of ours.
        receive_seconds: until a request is complete.
        send_seconds: until the client has read an answer.
    """

    too_large: bytes
    fields_too_large: bytes
    max_body_bytes: int = 4 << 20
    max_buffered_bytes: int = 16 << 20
    max_streams: int = 1000
    stream_window: int = 1 << 20
    connection_window: int = 4 << 20
    max_list_bytes: int = 16 << 10
    max_fields: int = 128
    max_block_bytes: int = 64 << 10
    max_continuations: int = 16
    max_remembered_blocks: int = 256
    max_remembered_bytes: int = 1024
    max_remembered_resets: int = 1000
    max_output_bytes: int = 1 << 20
    max_pending_bytes: int = 4 << 20
    max_control_bytes: int = 64 << 10
    preface_seconds: float = 10.0
    receive_seconds: float = 5.0
    send_seconds: float = 10.0
    resets: Rate = RESETS
    provoked_resets: Rate = PROVOKED_RESETS
    settings_frames: Rate = SETTINGS_FRAMES
    pings: Rate = PINGS
    window_updates: Rate = WINDOW_UPDATES
    idle_frames: Rate = IDLE_FRAMES
    small_data: Rate = SMALL_DATA
