"""Cuts a CheckRequest's bytes into its outline and the values that are new in every message.

Envoy writes a new time, new ids and new lengths into each message, and often nothing else is new.
They are cut out here, at the places where Envoy writes them, without reading any field. The outline
is all other bytes.

**Messages with the same outline have the same structure**, if one of them ``is_regular``: protobuf
reads the same from them, but for the values that were cut out.

- The outline has the tag and the length of each field around the port. So the port is as many bytes
  in each of them, and these are checked to be a varint.
- The lengths of ``attributes``, ``request`` and ``http`` are not in the outline. Each is compared
  with the place where its content ends: the end of the message, and the number of bytes before it
  that the outline has.
- The time and Envoy's id have a shape that protobuf takes whatever the digits, and their lengths
  are compared as well.
- The values of headers are as long as the outline says. Whether such a place is a header at all,
  and no text that looks like a header, only the full reading of a message with other values tells
  (``authz.edge.envoy.known_messages``).
"""

import re
from typing import Final

Outline = tuple[bytes, bytes, int, bytes, bytes, bytes]
"""Of ``source`` up to the port, and from there to ``request``; how many bytes follow ``request``;
and around the two headers.
"""
Cut = tuple[Outline, int, int, int, int]
"""A message that was cut: its outline; where the value of ``x-request-id`` begins and ends, and
that of ``traceparent``. A header that is not found has an empty place.
"""

# Lengths of messages whose own length takes two bytes: with a token or certificate all do.
_MIN_BYTES: Final = 131
_MAX_BYTES: Final = 16_386
_FIRST_TAG: Final = 0x0A  # field 1, with a length: attributes
_TARGET_TAG: Final = 0x12  # field 2, likewise: destination
_LAST: Final = 0x7F  # the highest byte that ends a varint
# Names of headers as both forms of headers have them. A tag and the value's length follow.
_REQUEST_ID: Final = b"\n\x0cx-request-id"
_TRACE: Final = b"\n\x0btraceparent"
_TO_REQUEST_ID: Final = len(_REQUEST_ID) + 2
_TO_TRACE: Final = len(_TRACE) + 2
_SECONDS_BYTES: Final = 5  # of unix seconds as a varint: until the year 3058
# The attribute ``request`` up to the end of Envoy's id. Groups: the content of time, and the id.
_REQUEST: Final = re.compile(
    rb'"[\x80-\xff][\x01-\x7f]'
    rb"\n.(\x08[\x80-\xff]{4}[\x01-\x7f](?:\x10[\x80-\xff]{0,4}[\x01-\x7f])?)"
    rb"\x12[\x80-\xff][\x01-\x7f]"
    rb"\n.([0-9]{1,20})",
    re.DOTALL,
)
# The attribute ``source`` up to the port. Groups: lengths of the address, of the socket address and
# of the IP address, and the IP address.
_SOURCE: Final = re.compile(
    rb"\n(?:[\x00-\x7f]|[\x80-\xff][\x01-\x7f])"
    rb"\n([\x00-\x7f])"
    rb"\n([\x00-\x7f])"
    rb"\x12([\x00-\x7f])(.*)\x18",
    re.DOTALL,
)


def cut(data: bytes) -> Cut | None:
    """Return a message's outline and the places of its values; None if they have another shape.

    Raises IndexError for a message that ends too soon. What the outline has is not checked here: it
    is compared with that of a message that ``is_regular``.
    """
    head = _head(data)
    if head is None:
        return None
    port, port_end, request, rest, tail = head
    at = data.find(_REQUEST_ID, rest)
    trace = data.find(_TRACE, rest)
    end = at = rest if at < 0 else at + _TO_REQUEST_ID
    trace_end = trace = rest if trace < 0 else trace + _TO_TRACE
    if at > rest:
        end += data[at - 1]
    if trace > rest:
        trace_end += data[trace - 1]
    if end > len(data) or trace_end > len(data):
        return None
    if at < trace:
        pieces = data[rest:at], data[end:trace], data[trace_end:]
    else:
        pieces = data[rest:trace], data[trace_end:at], data[end:]
    outline = data[3:port], data[port_end : request + 1], tail, *pieces
    return outline, at, end, trace, trace_end


def _head(data: bytes) -> tuple[int, int, int, int, int] | None:
    """Return the places of the values before the headers; None if they have another shape.

    These are: where the port begins and ends; where ``request`` begins; where Envoy's id ends; and
    how many bytes follow ``request``. A varint's byte above 127 says that another byte follows; of
    two bytes, the first has the lower seven bits.
    """
    size = len(data)
    if not _MIN_BYTES <= size <= _MAX_BYTES or data[0] != _FIRST_TAG or data[1] <= _LAST:
        return None
    at, end = (5, 5 + data[4]) if data[4] <= _LAST else (6, 6 + (data[4] & _LAST | data[5] << 7))
    port_end = at + 2 + data[at + 1]
    port = port_end - 3 if data[port_end - 3] > _LAST else port_end - 2
    if not data[port_end - 2] > _LAST >= data[port_end - 1]:
        return None
    at = end + 2 + data[end + 1]
    if data[end + 1] > _LAST:
        at = end + 3 + (data[end + 1] & _LAST | data[end + 2] << 7)
    request = _REQUEST.match(data, at)
    if request is None:
        return None
    id_at, rest = request.span(2)
    request_end = at + 3 + (data[at + 1] & _LAST | data[at + 2] << 7)
    lengths_are_right = (
        data[1] & _LAST | data[2] << 7 == size - 3
        and request.end(1) - at - 5 == data[at + 4]
        and (data[id_at - 4] & _LAST | data[id_at - 3] << 7) == request_end - id_at + 2
        and rest - id_at == data[id_at - 1]
    )
    return (port, port_end, at, rest, size - request_end) if lengths_are_right else None


def is_regular(outline: Outline) -> bool:
    """Tell whether what ``cut`` found in a message are the fields that it looked for.

    The outline then says so of each other message that has it.
    """
    source, target, tail, first, second, _ = outline
    found = _SOURCE.fullmatch(source)
    if found is None:
        return False
    address, socket_address, ip = (found[group][0] for group in (1, 2, 3))
    at = 2 + found.start(1)  # of the source's content in the message
    port_bytes = at + 2 + address - 3 - len(source)
    end = at + (source[1] if source[1] <= _LAST else source[1] & _LAST | source[2] << 7)
    target_at = end - (at + 2 + address)
    return (
        ip == len(found[4])
        and socket_address == ip + 3 + port_bytes
        and address == socket_address + 2
        and 0 <= target_at < len(target) - 1
        and target[target_at] == _TARGET_TAG
        and (target[target_at + 1] <= _LAST or target[target_at + 2] <= _LAST)
        and tail >= 0
        and _are_apart(first, second)
    )


def _are_apart(first: bytes, second: bytes) -> bool:
    """Tell whether the headers' values, which follow these pieces, are not in each other.

    And whether each length is one byte. An empty piece is followed by no header.
    """
    lengths = [piece[-1] for piece in (first, second) if piece]
    return all(length <= _LAST for length in lengths) and (
        not first or len(second) >= _TO_REQUEST_ID
    )


def with_other_values(data: bytes, parts: Cut, request_id: bytes, traceparent: bytes) -> bytes:
    """Return the message with these values of the two headers, and no other value as it was.

    They are as long as the values in their places. Of the port, the time and Envoy's id each byte
    gets another lowest bit, which leaves a varint a varint, and a digit a digit.
    """
    head = _head(data)
    request = head and _REQUEST.match(data, head[2])
    if not head or not request:  # then ``cut`` did not return these parts
        raise AssertionError
    other = bytearray(data)
    seconds = request.start(1) + 1
    for place in (
        range(head[0], head[1]),
        range(seconds, seconds + _SECONDS_BYTES),
        range(seconds + _SECONDS_BYTES + 1, request.end(1)),
        range(*request.span(2)),
    ):
        for at in place:
            other[at] ^= 1
    _, at, end, trace, trace_end = parts
    other[at:end], other[trace:trace_end] = request_id, traceparent
    return bytes(other)
