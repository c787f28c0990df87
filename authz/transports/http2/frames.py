"""Reads and writes the layouts of frames (RFC 9113 4.1, 6)."""

from struct import Struct
from typing import Final

from authz.transports.http2 import codes
from authz.transports.http2.codes import ErrorCode
from authz.transports.http2.faults import ConnectionFault

# The length (24 bits) and the type (8 bits) are read as one word: the number of its parts is a
# third of the cost of a frame's header.
HEADER: Final = Struct(">IBI")
_WORD: Final = Struct(">I")
_WORD_FRAME: Final = Struct(">IBII")
_GOAWAY_FRAME: Final = Struct(">IBIII")
STREAM_BITS: Final = 0x7FFF_FFFF  # the highest bit is reserved, and ignored (4.1)
_PRIORITY_BYTES: Final = 5


def frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    """Return a frame."""
    return HEADER.pack(len(payload) << 8 | kind, flags, stream_id) + payload


def rst_stream(stream_id: int, code: ErrorCode) -> bytes:
    """Return a RST_STREAM (6.4)."""
    return _WORD_FRAME.pack(4 << 8 | codes.RST_STREAM, 0, stream_id, code)


def window_update(stream_id: int, increment: int) -> bytes:
    """Return a WINDOW_UPDATE (6.9); stream 0 is the connection."""
    return _WORD_FRAME.pack(4 << 8 | codes.WINDOW_UPDATE, 0, stream_id, increment)


def goaway(last_stream_id: int, code: ErrorCode, words: str = "") -> bytes:
    """Return a GOAWAY (6.8) with words as its debug data."""
    data = words.encode("ascii")
    word = (8 + len(data)) << 8 | codes.GOAWAY
    return _GOAWAY_FRAME.pack(word, 0, 0, last_stream_id, code) + data


def ping(data: bytes, flags: int = 0) -> bytes:
    """Return a PING (6.7)."""
    return frame(codes.PING, flags, 0, data)


def settings(values: dict[codes.Setting, int]) -> bytes:
    """Return a SETTINGS (6.5)."""
    payload = b"".join(setting.to_bytes(2) + value.to_bytes(4) for setting, value in values.items())
    return frame(codes.SETTINGS, 0, 0, payload)


SETTINGS_ACK: Final = frame(codes.SETTINGS, codes.ACK, 0, b"")


def field_block(stream_id: int, block: bytes, flags: int, max_bytes: int) -> bytes:
    """Return a field block in HEADERS and, if it is too long for a frame, CONTINUATION (6.10)."""
    if len(block) <= max_bytes:
        return frame(codes.HEADERS, flags | codes.END_HEADERS, stream_id, block)
    pieces = [block[at : at + max_bytes] for at in range(0, len(block), max_bytes)]
    first, *middle, last = pieces
    return b"".join((
        frame(codes.HEADERS, flags, stream_id, first),
        *(frame(codes.CONTINUATION, 0, stream_id, piece) for piece in middle),
        frame(codes.CONTINUATION, codes.END_HEADERS, stream_id, last),
    ))  # fmt: skip


def read_word(payload: bytes) -> int:
    """Return the number in the first four bytes."""
    return int(_WORD.unpack_from(payload)[0])


def unpadded(payload: bytes, flags: int) -> bytes:
    """Return the payload of DATA or HEADERS without padding (6.1). Raises ConnectionFault."""
    if not flags & codes.PADDED:
        return payload
    if not payload:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "padded frame without pad length")
    end = len(payload) - payload[0]
    if end < 1:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "padding as long as its frame")
    return payload[1:end]


def without_priority(payload: bytes, flags: int) -> tuple[bytes, int]:
    """Return the field block of HEADERS and the stream that it depends on, -1 for none (6.2).

    Raises ConnectionFault.
    """
    if not flags & codes.PRIORITIZED:
        return payload, -1
    if len(payload) < _PRIORITY_BYTES:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "HEADERS too short for its priority")
    return payload[_PRIORITY_BYTES:], read_word(payload) & STREAM_BITS
