"""Reads the client's SETTINGS, and writes ours (RFC 9113 6.5)."""

from struct import Struct
from typing import Final

from authz.transports.http2 import codes, frames
from authz.transports.http2.codes import ErrorCode, Setting
from authz.transports.http2.faults import ConnectionFault
from authz.transports.http2.limits import Limits

SETTING_BYTES: Final = 6
_SETTING: Final = Struct(">HI")

# The valid values of settings, and the errors for other values (6.5.2). All other settings,
# including unknown ones, may have any value.
_RANGES: Final = {
    Setting.ENABLE_PUSH: (0, 1, ErrorCode.PROTOCOL_ERROR),
    Setting.INITIAL_WINDOW_SIZE: (0, codes.MAX_WINDOW, ErrorCode.FLOW_CONTROL_ERROR),
    Setting.MAX_FRAME_SIZE: (
        codes.MIN_FRAME_BYTES,
        codes.MAX_FRAME_BYTES,
        ErrorCode.PROTOCOL_ERROR,
    ),
}


def read_settings(payload: bytes) -> dict[int, int]:
    """Return the settings of a frame and their values. Raises ConnectionFault for an invalid one.

    The last value of each counts (6.5.3), so that the cost of a change is paid once. Of the table's
    sizes the smallest counts, since that is the one to signal (RFC 7541 4.2).
    """
    values: dict[int, int] = {}
    for number, value in _SETTING.iter_unpack(payload):
        low, high, code = _RANGES.get(number, (0, value, ErrorCode.PROTOCOL_ERROR))
        if not low <= value <= high:
            raise ConnectionFault(code, f"invalid {Setting(number).name}")
        is_table = number == Setting.HEADER_TABLE_SIZE
        values[number] = min(value, values.get(number, value)) if is_table else value
    return values


def server_preface(limits: Limits) -> bytes:
    """Return our first frames: SETTINGS, and credit up to the connection's window (3.4, 6.9.2)."""
    settings = frames.settings({
        Setting.MAX_CONCURRENT_STREAMS: limits.max_streams,
        Setting.INITIAL_WINDOW_SIZE: limits.stream_window,
        Setting.MAX_HEADER_LIST_SIZE: limits.max_list_bytes,
    })  # fmt: skip
    more = limits.connection_window - codes.DEFAULT_WINDOW
    return settings + (frames.window_update(0, more) if more > 0 else b"")
