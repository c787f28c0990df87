"""Finds the values in a CheckRequest that most messages change, by the bytes before them.

They are the ids that Envoy writes, the path, the token, the body, and the numbers of its bytes.
Nothing is parsed: a place may hold a text that only looks like such a value, which a trial detects
(``authz.edge.envoy.known_messages``).
"""

from collections.abc import Callable
from operator import attrgetter, itemgetter
from typing import Final, NamedTuple

import msgspec

NOWHERE: Final = slice(0, 0)  # the place of a value that was not found
PATH: Final = ":path"
CONTENT_LENGTH: Final = "content-length"
# A shorter text is not a place: it has few possible values, and one could be guessed in a trial.
MIN_BYTES: Final = 16
LAST: Final = 0x7F  # the highest byte that ends a varint; of two, the first has the lower 7 bits
# Names of headers as both forms of headers have them. A tag and the value's length follow.
_AUTHORIZATION_NAME: Final = b"\n\x0dauthorization"
_REQUEST_ID_NAME: Final = b"\n\x0cx-request-id"
_TRACE_NAME: Final = b"\n\x0btraceparent"
_PATH_NAME: Final = b"\n\x05" + PATH.encode()
_LENGTH_NAME: Final = b"\n\x0e" + CONTENT_LENGTH.encode()
_MAX_SIZE_BYTES: Final = 3  # of the size's varint: a body that is cut out needs no more
# Tags of HttpRequest, in the order of its fields.
_PATH_TAG, _HOST, _SCHEME, _SIZE, _PROTOCOL, _RAW_BODY = b'"', b"*", b"2", b"H", b"R", b"b"


class Places(NamedTuple):
    """Where the values of a message are, in what follows Envoy's id.

    Attributes:
        authorization, request_id, trace: the values of the three headers.
        path, path_header: the path, and the header of it.
        size, body: as in HttpRequest; ``body`` begins with its length, and ``content`` does not.
        content_length: the value of the header.
    """

    authorization: slice
    request_id: slice
    trace: slice
    path: slice
    path_header: slice
    size: slice
    body: slice
    content: slice
    content_length: slice


_OF_ANY_LENGTH: Final = ("size", "body")
_TEXTS: Final = attrgetter("path", "authorization", "path_header", "request_id", "trace")


class Layout(msgspec.Struct, frozen=True, gc=False):
    """The places of the values in messages of one layout.

    Attributes:
        places: each of them.
        end: the number of bytes that follow Envoy's id.
        shape: which value each place holds, in the order of places, and the length of those whose
            length is the same in all messages of an outline. It is a part of the outline, since two
            layouts may cut the same pieces out of a message and use different texts as the path.
        pieces: returns the bytes between the values: the rest of the outline.
        texts: returns path, authorization, path_header, request_id and trace, in one call.
    """

    places: Places
    end: int
    shape: str
    pieces: Callable[[bytes], tuple[bytes, ...]]
    texts: Callable[[bytes], tuple[bytes, ...]]

    def fits(self, rest: bytes) -> bool:
        """Tell whether the headers of a message are in these places, with values as long."""
        headers = {
            _AUTHORIZATION_NAME: self.places.authorization,
            _REQUEST_ID_NAME: self.places.request_id,
            _TRACE_NAME: self.places.trace,
            _PATH_NAME: self.places.path_header,
        }
        return all(_is_header(rest, name, place) for name, place in headers.items() if place.stop)

    def with_another_body(self, rest: bytes) -> "Layout | None":
        """Return the layout of a message in which only the body has another length, or None.

        Its lengths have as many bytes as here, and are really lengths.
        """
        places, by = self.places, len(rest) - self.end
        size, begin = places.size, places.body.start
        content = _content(rest, begin)
        if (
            content != slice(places.content.start, places.content.stop + by)
            or (size.stop and _end_of_varint(rest, size.start) != size.stop)
            or not _long(content).stop
        ):
            return None
        if not by:
            return self
        moved = Places(*[_moved(place, begin, by) for place in places])
        return _layout(moved._replace(content=content), len(rest))


def find_layout(rest: bytes) -> Layout | None:
    """Find the values of a message; return None if two of them overlap, so that one is not a value.

    Raises IndexError if a value ends after the message.
    """
    path, path_header = _paths(rest)
    size, body, content = _message(rest, path.stop) if path.stop else (NOWHERE,) * 3
    places = Places(
        _long(_header(rest, _AUTHORIZATION_NAME)),
        _long(_header(rest, _REQUEST_ID_NAME)),
        _long(_header(rest, _TRACE_NAME)),
        _long(path),
        _long(path_header),
        size,
        body,
        content,
        _header(rest, _LENGTH_NAME, body.stop) if body.stop else NOWHERE,
    )
    return _layout(places, len(rest))


def _layout(places: Places, end: int) -> Layout | None:
    """Return the layout of messages with these places, None if places overlap."""
    gaps, shape, past = [], [], 0
    found = [(place.start, place.stop, name) for name, place in _cut_out(places) if place.stop]
    for start, stop, name in sorted(found):
        if start < past:
            return None
        gaps.append(slice(past, start))
        shape.append(name if name in _OF_ANY_LENGTH else f"{name} {stop - start}")
        past = stop
    if past > end:
        return None
    return Layout(
        places,
        end,
        ", ".join(shape),  # a text, as its hash is made once for all messages
        itemgetter(*gaps, slice(past, end), NOWHERE),  # for one slice alone it returns no tuple
        itemgetter(*_TEXTS(places)),
    )


def _cut_out(places: Places) -> list[tuple[str, slice]]:
    """Return the places that are cut out, by name: ``content`` is a part of ``body``."""
    return [named for named in zip(places._fields, places, strict=True) if named[0] != "content"]


def _moved(place: slice, begin: int, by: int) -> slice:
    """Return a place in which everything behind ``begin`` is moved."""
    start, stop = place.start, place.stop
    return slice(start + by if start > begin else start, stop + by if stop > begin else stop)


def _long(place: slice) -> slice:
    """Return the place of a text, NOWHERE if it is short."""
    return place if place.stop - place.start >= MIN_BYTES else NOWHERE


def number_of(varint: bytes) -> int:
    """Return the number of a varint (little-endian, seven bits a byte)."""
    number = 0
    for byte in reversed(varint):
        number = number << 7 | byte & LAST
    return number


def _header(rest: bytes, name: bytes, begin: int = 0) -> slice:
    """Return the place of a header's value, preferably from ``begin`` on."""
    at = rest.find(name, begin)
    if at < 0 and begin:
        at = rest.find(name)
    return NOWHERE if at < 0 else _content(rest, at + len(name) + 1)


def _is_header(rest: bytes, name: bytes, place: slice) -> bool:
    """Tell whether a place is that of a header's value."""
    length_at = _length_at(place)
    return rest.startswith(name, length_at - 1 - len(name)) and _content(rest, length_at) == place


def _length_at(place: slice) -> int:
    """Return the place of the length of a place's content."""
    start: int = place.start
    return start - (1 if place.stop - start <= LAST else 2)


def _paths(rest: bytes) -> tuple[slice, slice]:
    """Return the places of the path and of its header.

    The path follows the method or the headers; behind the headers, only its header shows the text
    to search for.
    """
    header = _header(rest, _PATH_NAME)
    at = _content(rest, 1).stop
    if not rest.startswith(_PATH_TAG, at):
        field = _PATH_TAG + rest[_length_at(header) : header.stop]
        at = rest.find(field, at) if header.stop else -1
    return _content(rest, at + 1) if at >= 0 else NOWHERE, header


def _message(rest: bytes, at: int) -> tuple[slice, slice, slice]:
    """Return the places of the size and the body, from the end of the path on.

    They are NOWHERE if the message has no body in bytes, or a short body.
    """
    for tag in (_HOST, _SCHEME):
        if rest.startswith(tag, at):
            at = _content(rest, at + 1).stop
    size = NOWHERE
    if rest.startswith(_SIZE, at):
        size = slice(at + 1, _end_of_varint(rest, at + 1))
        at = size.stop
    if rest.startswith(_PROTOCOL, at):
        at = _content(rest, at + 1).stop
    if not rest.startswith(_RAW_BODY, at) or size.stop - size.start > _MAX_SIZE_BYTES:
        return NOWHERE, NOWHERE, NOWHERE
    content = _content(rest, at + 1)
    if not _long(content).stop:
        return NOWHERE, NOWHERE, NOWHERE
    return size, slice(at + 1, content.stop), content


def _content(rest: bytes, at: int) -> slice:
    """Return the place of the content whose length, of one or two bytes, is at this place."""
    length = rest[at]
    if length <= LAST:
        return slice(at + 1, at + 1 + length)
    if rest[at + 1] > LAST:
        raise IndexError
    return slice(at + 2, at + 2 + (length & LAST | rest[at + 1] << 7))


def _end_of_varint(rest: bytes, at: int) -> int:
    while rest[at] > LAST:
        at += 1
    return at + 1
