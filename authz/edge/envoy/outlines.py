"""Cuts a CheckRequest's bytes into its outline and the values that are new in nearly every message.

Envoy writes a new time, new ids and new lengths into each message. An agent requests one path after
another, with changing bodies, for one principal after another. Most of the time, nothing else is
new. These values are cut out here, at the places where earlier messages had them, without reading
any field. The outline is all other bytes.

**Messages with the same outline have the same structure**, if one of them ``is_regular``: protobuf
reads the same from them, apart from the values that were cut out.

- The outline has the tag and the length of each field around the port. So the port has the same
  number of bytes in each message, and these are checked to be a varint.
- The lengths of ``attributes``, ``request`` and ``http`` are not in the outline. Each is compared
  with the place where its content ends: the end of the message, and the number of bytes before it
  that the outline has.
- The time and Envoy's id have a shape that protobuf accepts with any digits, with their lengths.
- The path, and the values of headers such as the token, are as long as the outline says, which also
  says in which place each of them is.
- The body is cut out with its own length, which shows where the outline continues.
- A place may hold a text that only looks like a value. Only the full reading of a message with
  other values shows that (``authz.edge.envoy.known_messages``).

A wrong place gives a different outline, which no regular message has.
"""

import re
from collections.abc import Iterable
from typing import Final

import msgspec

from authz.edge.envoy.layouts import LAST, Layout, find_layout, number_of

Outline = tuple[bytes, bytes, int, str, tuple[bytes, ...]]
"""``source`` up to the port, and from there to ``request``; how many bytes follow ``request``;
which values the rest of the message has, with their lengths, and the bytes between them.
"""
Head = tuple[int, int, int]
"""The places where the port begins and ends, and where ``destination`` begins."""


class Cut(msgspec.Struct, frozen=True, gc=False):
    """A message in parts.

    Attributes:
        outline: the parts that all messages of its kind share.
        head: the places by which it was cut.
        rest: the message from the end of Envoy's id on.
        layout: where the values are in the rest.
        is_guess: whether this is the layout of an earlier message whose rest has the same length.
    """

    outline: Outline
    head: Head
    rest: bytes
    layout: Layout
    is_guess: bool


_MAX_BYTES: Final = 16_386  # of messages whose own length takes two bytes
_HEADS: Final = 256  # remembered; they are soon learned again
_SIZES: Final = 64  # of each head, likewise
_WITH_BODY: Final = 0  # in place of the size, as a body may have any
_TO_LENGTHS: Final = slice(3, 9)  # has the lengths of ``source`` and of its address
_ATTRIBUTES: Final = 0x0A  # the tag of the message's only field
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
    """Cuts messages at places that it learns. Many threads may use it at once."""

    def __init__(self) -> None:
        """Begin without known places."""
        # And the layouts of messages with such a head, by the size of their rest.
        self._heads: dict[bytes, tuple[Head, dict[int, Layout]]] = {}

    def cut(self, data: bytes) -> Cut | None:
        """Return a message's parts; None if it has no known place or values of another shape.

        Raises IndexError for a message that ends too soon.

        This replaces the complete reading, so it is one function, and does not check bytes that the
        outline has.
        """
        size = len(data)
        learned = self._heads.get(data[_TO_LENGTHS])
        if learned is None or size > _MAX_BYTES:
            return None
        head, layouts = learned
        port, port_end, destination = head
        at = destination + 2 + data[destination + 1]
        if data[destination + 1] > LAST:
            at = destination + 3 + (data[destination + 1] & LAST | data[destination + 2] << 7)
        request = _REQUEST.match(data, at)
        if request is None:
            return None
        http, rest_at = request.end(1), request.end()
        request_end = at + 3 + (data[at + 1] & LAST | data[at + 2] << 7)
        if (
            data[0] != _ATTRIBUTES
            or not data[1] > LAST < data[port]
            or not data[port_end - 2] > LAST >= data[port_end - 1]
            or data[1] & LAST | data[2] << 7 != size - 3
            or http + 3 + (data[http + 1] & LAST | data[http + 2] << 7) != request_end
        ):
            return None
        rest = data[rest_at:]
        layout = layouts.get(size - rest_at)
        if layout is None and _WITH_BODY in layouts:
            layout = layouts[_WITH_BODY].with_another_body(rest)
        is_guess = layout is not None
        if layout is None:
            layout = _found(layouts, rest)
            if layout is None:
                return None
        source, target = data[3:port], data[port_end : at + 1]
        outline = source, target, size - request_end, layout.shape, layout.pieces(rest)
        return Cut(outline, head, rest, layout, is_guess)

    def cut_anew(self, data: bytes, cut: Cut) -> Cut | None:
        """Return the message's parts by the right layout, if a guess was wrong.

        A wrong guess gives an unknown outline: a known outline has all bytes of a message except
        its values, and the place of each value.
        """
        learned = self._heads.get(data[_TO_LENGTHS])
        layout = _found(learned[1], cut.rest) if learned else None
        if layout is None:
            return None
        outline = (*cut.outline[:3], layout.shape, layout.pieces(cut.rest))
        return Cut(outline, cut.head, cut.rest, layout, is_guess=False)

    def learn(self, data: bytes) -> None:
        """Remember the places of a message, if its attributes are in the usual order."""
        head = _head_of(data)
        if head is not None:
            if len(self._heads) >= _HEADS:
                self._heads.clear()
            self._heads[data[_TO_LENGTHS]] = head, {}


def _found(known: dict[int, Layout], rest: bytes) -> Layout | None:
    """Find a layout, and remember it; for messages with a body only the last layout."""
    layout = find_layout(rest)
    if layout is not None:
        if len(known) >= _SIZES:
            known.clear()
        known[_WITH_BODY if layout.places.body.stop else len(rest)] = layout
    return layout


def _head_of(data: bytes) -> Head | None:
    """Return the places in a message, None if it does not begin as Envoy's do.

    That is: with ``source``, which begins with an address and its port; ``destination``; and
    ``request``.
    """
    source = _SOURCE.match(data, 3)
    if source is None:
        return None
    port, port_end = source.span(6)
    address, socket_address, ip = (source[group][0] for group in (2, 3, 4))
    destination = source.end(1) + number_of(source[1])
    if (
        not _DESTINATION.match(data, destination)
        or ip != len(source[5])
        or socket_address != port_end - source.end(3)
        or address != port_end - source.end(2)
    ):
        return None
    return port, port_end, destination


def is_regular(data: bytes, head: Head) -> bool:
    """Tell whether the places before the request are what ``Cutter`` assumes.

    The message was read in full. The outline has the bytes at these places, so each other message
    with this outline is equal there.
    """
    return _head_of(data) == head


def with_other_values(data: bytes, cut: Cut, values: Iterable[tuple[slice, bytes]]) -> bytes:
    """Return the message with these values in the rest, each as long as its place.

    Each byte of the port, the time and Envoy's id gets the opposite lowest bit, so that a varint
    stays a varint, and a digit a digit.
    """
    port, port_end, _ = cut.head
    request = _REQUEST.match(data, port_end + len(cut.outline[1]) - 1)
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
    rest = bytearray(cut.rest)
    for place, value in values:
        rest[place] = value
    other[request.end() :] = rest
    return bytes(other)
