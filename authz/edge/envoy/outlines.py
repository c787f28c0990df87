"""Cuts a CheckRequest's bytes into its outline and the values that are new in every message.

Envoy writes a new time, new ids and new lengths into each message, and often nothing else is new.
They are cut out here, at the places where earlier messages had them, without reading any field. The
outline is all other bytes.

**Messages with the same outline have the same structure**, if one of them ``is_regular``: protobuf
reads the same from them, but for the values that were cut out.

- The outline has the tag and the length of each field around the port. So the port is as many bytes
  in each of them, and these are checked to be a varint.
- The lengths of ``attributes``, ``request`` and ``http`` are not in the outline. Each is compared
  with the place where its content ends: the end of the message, and the number of bytes before it
  that the outline has.
- The time and Envoy's id have a shape that protobuf takes whatever the digits, with their lengths.
- The values of headers are as long as the outline says. Whether such a place is a header at all,
  and no text that looks like a header, only the full reading of a message with other values tells
  (``authz.edge.envoy.known_messages``).

A wrong place makes another outline, which no regular message has.
"""

import re
from typing import Final

Outline = tuple[bytes, bytes, int, bytes, bytes, bytes]
"""``source`` up to the port, and from there to ``request``; how many bytes follow ``request``; what
is before, between and after the two headers' values in the rest of the message.
"""
Head = tuple[int, int, int]
"""Where the port begins and ends, and where ``destination`` begins."""
Cut = tuple[Outline, Head, bytes, int, int, int, int]
"""The outline, and by which places; the rest of the message, from the end of Envoy's id; where in
the rest the value of ``x-request-id`` begins and ends, and that of ``traceparent``. A header that
is not found has an empty place at 0.
"""

_MAX_BYTES: Final = 16_386  # of messages whose own length takes two bytes
_HEADS: Final = 256  # remembered; they are soon learned again
_TO_LENGTHS: Final = slice(3, 9)  # has the lengths of ``source`` and of its address
_LAST: Final = 0x7F  # the highest byte that ends a varint; of two, the first has the lower 7 bits
_ATTRIBUTES: Final = 0x0A  # the tag of the message's only field
# Names of headers as both forms of headers have them. A tag and the value's length follow.
_REQUEST_ID: Final = b"\n\x0cx-request-id"
_TRACE: Final = b"\n\x0btraceparent"
_TO_REQUEST_ID: Final = len(_REQUEST_ID) + 2
_TO_TRACE: Final = len(_TRACE) + 2
_SECONDS: Final = rb"\x08[\x80-\xff]{4}[\x00-\x7f]"  # unix seconds in five bytes: until 3058
_SECONDS_BYTES: Final = 6  # with the tag
_NANOS: Final = [rb"\x10[\x80-\xff]{%d}[\x00-\x7f]" % more for more in range(4, -1, -1)]
_TIMES: Final = b"|".join(
    [
        re.escape(bytes([_SECONDS_BYTES + size])) + _SECONDS + nanos
        for size, nanos in zip(range(6, 1, -1), _NANOS, strict=True)
    ]
)
_IDS: Final = b"|".join([re.escape(bytes([n])) + rb"[0-9]{%d}" % n for n in (20, 19, 18)])
_TWO: Final = rb"[\x80-\xff][\x00-\x7f]"  # a varint of two bytes
# ``request`` up to the end of Envoy's id, 64 bits. Groups: time and id, each with its length.
_REQUEST: Final = re.compile(
    rb'"' + _TWO + rb"\n(" + _TIMES + rb")\x12" + _TWO + rb"\n(" + _IDS + rb")"
)
# ``source`` up to the end of the port. Groups: the length of ``source``, of the address, of the
# socket address and of the IP address; the IP address; the port.
_LENGTH: Final = rb"([\x00-\x7f]|" + _TWO + rb")"
_SOURCE: Final = re.compile(
    rb"\n" + _LENGTH + rb"\n([\x00-\x7f])\n([\x00-\x7f])"
    rb"\x12([\x00-\x7f])([0-9a-f.:]*)\x18([\x80-\xff]{1,2}[\x00-\x7f])"
)
_DESTINATION: Final = re.compile(rb"\x12" + _LENGTH)  # its beginning


class Cutter:
    """Cuts messages, by places that it learns. Many threads may use it at once."""

    def __init__(self) -> None:
        """Begin with no place known."""
        self._heads: dict[bytes, Head] = {}

    def cut(self, data: bytes) -> Cut | None:
        """Return a message's parts; None if it has no known place or values of another shape.

        Raises IndexError for a message that ends too soon.

        This takes the place of the whole reading, so it is one function, and it checks nothing that
        the outline has.
        """
        size = len(data)
        head = self._heads.get(data[_TO_LENGTHS])
        if head is None or size > _MAX_BYTES:
            return None
        port, port_end, destination = head
        at = destination + 2 + data[destination + 1]
        if data[destination + 1] > _LAST:
            at = destination + 3 + (data[destination + 1] & _LAST | data[destination + 2] << 7)
        request = _REQUEST.match(data, at)
        if request is None:
            return None
        http, rest_at = request.end(1), request.end()
        request_end = at + 3 + (data[at + 1] & _LAST | data[at + 2] << 7)
        if (
            data[0] != _ATTRIBUTES
            or not data[1] > _LAST < data[port]
            or not data[port_end - 2] > _LAST >= data[port_end - 1]
            or data[1] & _LAST | data[2] << 7 != size - 3
            or http + 3 + (data[http + 1] & _LAST | data[http + 2] << 7) != request_end
        ):
            return None
        source, target = data[3:port], data[port_end : at + 1]
        rest = data[rest_at:]
        at = end = rest.find(_REQUEST_ID) + _TO_REQUEST_ID
        if at >= _TO_REQUEST_ID:
            end += rest[at - 1]
        else:
            at = end = 0
        trace = trace_end = rest.find(_TRACE) + _TO_TRACE
        if trace >= _TO_TRACE:
            trace_end += rest[trace - 1]
        else:
            trace = trace_end = 0
        if end > len(rest) or trace_end > len(rest):
            return None
        if at < trace:
            before, between, after = rest[:at], rest[end:trace], rest[trace_end:]
        else:
            before, between, after = rest[:trace], rest[trace_end:at], rest[end:]
        outline = source, target, size - request_end, before, between, after
        return outline, head, rest, at, end, trace, trace_end

    def learn(self, data: bytes) -> None:
        """Remember the places of a message, if its attributes come in the usual order."""
        head = _head_of(data)
        if head is not None:
            if len(self._heads) >= _HEADS:
                self._heads.clear()
            self._heads[data[_TO_LENGTHS]] = head


def _head_of(data: bytes) -> Head | None:
    """Return the places in a message, None if it begins otherwise than Envoy's do.

    That is: with ``source``, which begins with an address and its port; ``destination``; and
    ``request``.
    """
    source = _SOURCE.match(data, 3)
    if source is None:
        return None
    port, port_end = source.span(6)
    address, socket_address, ip = (source[group][0] for group in (2, 3, 4))
    destination = source.end(1) + _number(source[1])
    if (
        not _DESTINATION.match(data, destination)
        or ip != len(source[5])
        or socket_address != port_end - source.end(3)
        or address != port_end - source.end(2)
    ):
        return None
    return port, port_end, destination


def _number(varint: bytes) -> int:
    return varint[0] & _LAST | (varint[1] << 7 if len(varint) > 1 else 0)


def is_regular(data: bytes, parts: Cut) -> bool:
    """Tell whether the places in a message are what ``Cutter`` takes them for.

    The message is one that was read in full, and as the outline has it, each other message with
    this outline is the same in this. Of the headers only this is told: neither is within the other.
    """
    _, head, _, at, end, trace, trace_end = parts
    is_apart = end <= trace or trace_end <= at
    return _head_of(data) == head and (is_apart or not at or not trace)


def with_other_values(data: bytes, parts: Cut, request_id: bytes, traceparent: bytes) -> bytes:
    """Return the message with these values of the two headers, and no other value as it was.

    They are as long as the values in their places. Of the port, the time and Envoy's id each byte
    gets another lowest bit, which leaves a varint a varint, and a digit a digit.
    """
    outline, (port, port_end, _), rest, at, end, trace, trace_end = parts
    request = _REQUEST.match(data, port_end + len(outline[1]) - 1)
    if request is None:  # then ``Cutter`` did not cut this message
        raise AssertionError
    nanos = request.start(1) + 1 + _SECONDS_BYTES
    other = bytearray(data)
    for varying in (
        range(port, port_end),
        range(nanos - _SECONDS_BYTES + 1, nanos),
        range(nanos + 1, request.end(1)),
        range(request.start(2) + 1, request.end(2)),
    ):
        for byte in varying:
            other[byte] ^= 1
    ending = bytearray(rest)
    ending[at:end], ending[trace:trace_end] = request_id, traceparent
    other[request.end() :] = ending
    return bytes(other)
