"""Names the numbers of HTTP/2: frame types, flags, error codes, settings (RFC 9113 6, 7, 6.5.2)."""

from enum import IntEnum
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"  # 3.4
FRAME_HEADER_BYTES: Final = 9  # 4.1
MAX_WINDOW: Final = 2**31 - 1  # 6.9.1
MAX_STREAM_ID: Final = 2**31 - 1  # 5.1.1
DEFAULT_WINDOW: Final = 65_535  # 6.5.2, 6.9.2
DEFAULT_TABLE_BYTES: Final = 4096  # 6.5.2
MIN_FRAME_BYTES: Final = 2**14  # 6.5.2: the least that SETTINGS_MAX_FRAME_SIZE may be, and ours
MAX_FRAME_BYTES: Final = 2**24 - 1

# Plain numbers: they are compared for each frame, and an enum's members take three times as long.
DATA: Final = 0x0
HEADERS: Final = 0x1
PRIORITY: Final = 0x2
RST_STREAM: Final = 0x3
SETTINGS: Final = 0x4
PUSH_PROMISE: Final = 0x5
PING: Final = 0x6
GOAWAY: Final = 0x7
WINDOW_UPDATE: Final = 0x8
CONTINUATION: Final = 0x9

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITIZED: Final = 0x20


class ErrorCode(IntEnum):
    """Why a stream or a connection ends (RFC 9113 7)."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


class Setting(IntEnum):
    """The settings that the ends of a connection send to each other (RFC 9113 6.5.2)."""

    HEADER_TABLE_SIZE = 0x1
    ENABLE_PUSH = 0x2
    MAX_CONCURRENT_STREAMS = 0x3
    INITIAL_WINDOW_SIZE = 0x4
    MAX_FRAME_SIZE = 0x5
    MAX_HEADER_LIST_SIZE = 0x6
