"""Reads checks, and reuses an earlier reading for a message that is the same in all that matters.

Reading a message's fields one by one is most of the cost of a cached decision, and an agent's
requests differ in little more than a time, ids, the path, the token and the body. So the second
message with an outline (``authz.edge.envoy.outlines``) is kept with its presented request, and only
the values of each further message are read. The result is always that of the full reading:

- Messages with the same outline have the same structure, so only the values that were cut out can
  make a difference.
- The values that decisions and records use are read from each message, and the same code makes the
  check of them. Port, time and Envoy's id are read for a DPoP proof only, which a trial finds out
  too.
- An outline is tried before it is kept: a message of it is read in full once more with other values
  in all those places. The reading must find each of them there, and everything else unchanged.
  Texts are random, so that no client can guess them. So the trial detects a text that only looks
  like a header, two headers of one name, and a config whose rules read one of the values.
- A path on a route of another protocol needs another reading, so it gets the full one.
- Texts must be ASCII. Everything unusual is left to the full reading.
"""

import secrets
from collections.abc import Iterator
from typing import Final

import msgspec
from google.protobuf.message import DecodeError

from authz._pb import ext_authz_pb2 as pb
from authz.core.bounded_map import BoundedMap
from authz.edge.answered import DecodedCheck
from authz.edge.envoy.layouts import CONTENT_LENGTH, PATH, number_of
from authz.edge.envoy.outlines import Cut, Cutter, Outline, is_regular, with_other_values
from authz.edge.envoy.reader import (
    AUTHORIZATION,
    Presented,
    Values,
    present,
    present_on,
    route_of,
    to_check,
)
from authz.edge.inputs import REQUEST_ID, TRACE, RequestInputs, valid_traceparent

# Outlines kept at most: of a thousand agents, with each of their methods and sets of headers.
ENTRIES: Final = 10_000
MAX_BYTES: Final = 24 * 1024 * 1024
_ENTRY_BYTES: Final = 1200  # measured: the objects of an outline and its parts without their texts
# Checks kept at most, by outline, path and token: the requests of those agents within a minute.
_CHECKS: Final = 10_000
_CHECKS_BYTES: Final = 8 * 1024 * 1024
_CHECK_BYTES: Final = 600  # measured, likewise
# Outlines remembered by their hash alone, as most never occur again; they take 100 bytes each.
_SEEN: Final = 20_000
_CheckKey = tuple[str, Outline, bytes, bytes]  # with the proxy, the path and the token


class Known(msgspec.Struct, frozen=True, gc=False):
    """The request that the messages of an outline present, with the values of one of them."""

    outline: Outline
    presented: Presented
    values: Values


class CheckReader:
    """Reads the checks of one snapshot. Many threads may read at once.

    Attributes:
        inputs: the parts of a message that decisions read.
    """

    def __init__(self, inputs: RequestInputs) -> None:
        """Begin without known outlines."""
        self.inputs = inputs
        self._cutter = Cutter()
        self._known: BoundedMap[tuple[str, Outline], Known] = BoundedMap(ENTRIES, MAX_BYTES, _bytes)
        self._checks: BoundedMap[_CheckKey, DecodedCheck] = BoundedMap(
            _CHECKS, _CHECKS_BYTES, lambda key, _: _CHECK_BYTES + 3 * len(key[2]) + len(key[3])
        )
        # Whether an outline that occurred once is worth a trial: not if a trial of it has failed.
        self._seen: BoundedMap[int, bool] = BoundedMap(_SEEN, _SEEN, lambda *_: 1)

    def read(self, data: bytes, proxy: str) -> DecodedCheck:
        """Return the check of a serialised CheckRequest. Raises DecodeError."""
        try:
            cut = self._cutter.cut(data)
            if cut is None:
                return self._new(data, proxy, None)
            path, token, header, sent_id, sent_trace = cut.layout.texts(cut.rest)
            check = self._checks.get((proxy, cut.outline, path, token))
            # A value that is not read must still be a text.
            if check is None or not header.isascii():
                return self._other(data, proxy, cut)
            request_id = str(sent_id, "ascii") or check.request_id
            trace = str(sent_trace, "ascii")
        except (IndexError, UnicodeDecodeError):  # unusual: the full reading decides
            return self._new(data, proxy, None)
        traceparent = valid_traceparent(trace) if trace else check.traceparent
        return DecodedCheck(check.request, request_id, traceparent, check.ids, check.twins)

    def _other(self, data: bytes, proxy: str, cut: Cut) -> DecodedCheck:
        """Return the check of a message whose outline or path is new.

        Raises IndexError, UnicodeDecodeError and DecodeError.
        """
        known = self._known.get((proxy, cut.outline))
        if known is None and cut.is_guess and not cut.layout.fits(cut.rest):
            anew = self._cutter.cut_anew(data, cut)
            if anew is None:
                return self._new(data, proxy, None)
            cut = anew
            known = self._known.get((proxy, cut.outline))
        check = self._made(known, cut) if known else None
        if known is None or check is None:
            return self._new(data, proxy, cut)
        if not cut.layout.places.body.stop:  # bodies hardly ever repeat
            path, token, *_ = cut.layout.texts(cut.rest)
            self._checks.put((proxy, known.outline, path, token), check)
        return check

    def _made(self, known: Known, cut: Cut) -> DecodedCheck | None:
        """Make the check of a message. Raises UnicodeDecodeError."""
        presented, values = known.presented, _values(known, cut)
        messages = self.inputs.messages
        if messages is not None:
            context = dict(presented.context)
            if route_of(messages, presented.host, values.target, context) is not presented.route:
                return None
        return to_check(self.inputs, presented, values)

    def _new(self, data: bytes, proxy: str, cut: Cut | None) -> DecodedCheck:
        """Read a message in full, and keep its outline if it occurred before."""
        message = pb.CheckRequest.FromString(data)
        presented, values = present(self.inputs, message, proxy)
        if cut is None:
            self._cutter.learn(data)
        else:
            self._note(data, message, cut, Known(cut.outline, presented, values))
        return to_check(self.inputs, presented, values)

    def _note(self, data: bytes, message: pb.CheckRequest, cut: Cut, found: Known) -> None:
        """Keep an outline that occurs for the second time, if a trial confirms it."""
        key = found.presented.proxy, cut.outline
        number = hash(key)
        is_worth_a_trial = self._seen.get(number)
        if is_worth_a_trial is None:
            self._seen.put(number, True)
        elif is_worth_a_trial and self._known.get(key) is None:
            if is_as_cut(message, cut) and self._is_read_alike(data, cut, found):
                self._known.put(key, found)
            else:
                self._seen.put(number, False)

    def _is_read_alike(self, data: bytes, cut: Cut, found: Known) -> bool:
        """Tell whether the reading finds other values in their places, and the rest unchanged."""
        presented, size = found.presented, len(cut.rest)
        if not is_regular(data, cut.head):
            return False
        other = with_other_values(data, cut, _other_values(cut))
        cut = msgspec.structs.replace(cut, rest=other[-size:])
        try:
            message = pb.CheckRequest.FromString(other)
        except DecodeError:  # the place does not hold a value
            return False
        expected = presented, _values(found, cut)
        context = dict(presented.context)
        read = present_on(self.inputs, message, presented.route, context, presented.proxy)
        return read == expected and is_as_cut(message, cut)


def _values(known: Known, cut: Cut) -> Values:
    """Return the values of a message of a known outline. Raises UnicodeDecodeError.

    An empty place is a value that was not found: if it was sent, it is part of the outline.
    """
    former, places, rest = known.values, cut.layout.places, cut.rest
    texts = [str(text, "ascii") for text in cut.layout.texts(rest)]
    target, authorization, _, request_id, trace = texts
    content_length = str(rest[places.content_length], "ascii")
    values = Values(
        target or former.target,
        # It is not read if the known message has none.
        former.authorization and (authorization or former.authorization),
        request_id or former.request_id,
        valid_traceparent(trace) if trace else former.traceparent,
    )
    if known.presented.route is None:
        return values
    return msgspec.structs.replace(
        values,
        body=rest[places.content] if places.content.stop else former.body,
        size=number_of(rest[places.size]) if places.size.stop else former.size,
        content_length=content_length or former.content_length,
    )


def is_as_cut(message: pb.CheckRequest, cut: Cut) -> bool:
    """Tell whether each value that was cut out is in the message what it seems to be."""
    http, places, rest = message.attributes.request.http, cut.layout.places, cut.rest
    sent = [(name, value.encode()) for name, value in http.headers.items()]
    sent += [(one.key, one.raw_value or one.value.encode()) for one in http.header_map.headers]
    headers = {
        AUTHORIZATION: places.authorization,
        REQUEST_ID: places.request_id,
        TRACE: places.trace,
        PATH: places.path_header,
        CONTENT_LENGTH: places.content_length,
    }
    read = [
        (at, [text for key, text in sent if key.lower() == name]) for name, at in headers.items()
    ]
    read += [(places.path, [http.path.encode()]), (places.content, [http.raw_body])]
    has_size = not places.size.stop or number_of(rest[places.size]) == http.size
    return has_size and all(found == [rest[at]] for at, found in read if at.stop)


def _other_values(cut: Cut) -> Iterator[tuple[slice, bytes]]:
    """Yield other values for all places: random texts, and other numbers of as many digits."""
    places, rest = cut.layout.places, cut.rest
    texts = (places.path, places.path_header, places.authorization, places.request_id)
    for place in (*texts, places.content):
        size = len(rest[place])
        yield place, secrets.token_hex(size)[:size].encode()
    traceparent = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
    size = len(rest[places.trace])
    yield places.trace, traceparent.ljust(size, "0")[:size].encode()
    for place in (places.size, places.content_length):
        yield place, bytes([byte ^ 1 for byte in rest[place]])


def _bytes(key: tuple[str, Outline], known: Known) -> int:
    source, target, _, _, pieces = key[1]
    # No presented text is longer than the outline.
    outline = len(source) + len(target) + sum(map(len, pieces))
    return _ENTRY_BYTES + 2 * outline + _bytes_of(known.values)


def _bytes_of(values: Values) -> int:
    return 2 * len(values.target) + 2 * len(values.authorization or "") + len(values.body)
