"""HTTP/2 frames and headers by hand, for the bench's clients."""

import struct
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW = 0, 1, 3, 4, 6, 7, 8
END_STREAM: Final = 1
END_HEADERS: Final = 4
ACK: Final = 1


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Return a frame (RFC 9113 section 4.1)."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def literal(name: str, value: str) -> bytes:
    """A header that both sides forget at once (RFC 7541 section 6.2.2)."""
    parts = (part.encode() for part in (name, value))
    return b"\x00" + b"".join(_length(len(part)) + part for part in parts)


def _length(count: int) -> bytes:
    """A length as HPACK writes it, in 7 bits and then as many more as it needs (section 5.1)."""
    if count < 127:
        return bytes([count])
    out, rest = [127], count - 127
    while rest >= 128:
        out.append(rest % 128 + 128)
        rest //= 128
    return bytes([*out, rest])
