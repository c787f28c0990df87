"""Reads checks, and takes what was read before for a message that is the same in all that counts.

To read a message's fields one by one is most of what a remembered decision costs, and of an agent's
requests for the same thing nothing differs but a time and ids. So the second message with an
outline (``authz.edge.envoy.outlines``) is kept with what was read of it, and each further one is
read by comparing bytes. What is read is always what the full reading would give:

- Messages with the same outline have the same structure, so only the values that were cut out can
  make a difference.
- Of these, ``x-request-id`` and ``traceparent`` are read from each message, by the same code. The
  others are read for a DPoP proof only, which a trial finds out as well.
- A message is tried out before it is kept: it is read in full once more with other values in all
  those places, those of the headers random, and the result must be the same but for the two ids.
  So a text that only looks like such a header, two headers of one name, and a config whose rules
  read one of the two headers are found out, whoever made them up.
- Values are taken as ASCII only. All else that is unusual is left to the full reading.
"""

import secrets
from typing import Final

import msgspec
from google.protobuf.message import DecodeError

from authz._pb import ext_authz_pb2 as pb
from authz.core.bounded_map import BoundedMap
from authz.edge.answered import DecodedCheck
from authz.edge.envoy.outlines import Cut, Cutter, Outline, is_regular, with_other_values
from authz.edge.envoy.reader import read_check
from authz.edge.inputs import RequestInputs, trace_id_of

# Messages kept at most: what some hundred agents ask for within a minute.
ENTRIES: Final = 10_000
MAX_BYTES: Final = 32 * 1024 * 1024
_ENTRY_BYTES: Final = 700  # measured: the objects of an outline and a check without their texts
# Outlines remembered by their hash alone, as most never come again; they take 100 bytes each.
_SEEN: Final = 20_000
# Random characters that a value takes to be tried out: 64 bits, so that nobody guesses them.
_MIN_ID_CHARS: Final = 16


class CheckReader:
    """Reads the checks of one snapshot. Many threads may read at once.

    Attributes:
        inputs: the parts of a message that decisions read.
    """

    def __init__(self, inputs: RequestInputs) -> None:
        """Begin with nothing known."""
        self.inputs = inputs
        self._cutter = Cutter()
        self._known: BoundedMap[tuple[str, Outline], DecodedCheck] = BoundedMap(
            ENTRIES, MAX_BYTES, _bytes
        )
        # Whether an outline that came once is worth a trial: it is not after it has failed.
        self._seen: BoundedMap[int, bool] = BoundedMap(_SEEN, _SEEN, lambda *_: 1)

    def read(self, data: bytes, proxy: str) -> DecodedCheck:
        """Return the check of a serialised CheckRequest. Raises DecodeError."""
        try:
            parts = self._cutter.cut(data)
        except IndexError:
            parts = None
        known = self._known.get((proxy, parts[0])) if parts else None
        again = _again(known, parts) if parts and known else None
        return self._new(data, proxy, parts) if again is None else again

    def _read(self, data: bytes, proxy: str) -> DecodedCheck:
        return read_check(self.inputs, pb.CheckRequest.FromString(data), proxy)

    def _new(self, data: bytes, proxy: str, parts: Cut | None) -> DecodedCheck:
        """Read a message in full, and keep it if its outline has come before."""
        check = self._read(data, proxy)
        if parts is None:
            self._cutter.learn(data)
            return check
        key = proxy, parts[0]
        number = hash(key)
        is_worth_a_trial = self._seen.get(number)
        if is_worth_a_trial is None:
            self._seen.put(number, True)
        elif is_worth_a_trial:
            if self._is_read_alike(data, proxy, parts, check):
                self._known.put(key, check)
            else:
                self._seen.put(number, False)
        return check

    def _is_read_alike(self, data: bytes, proxy: str, parts: Cut, check: DecodedCheck) -> bool:
        """Tell whether the same is read from the message with other values, but for the ids."""
        _, _, _, at, end, trace, trace_end = parts
        if not is_regular(data, parts):
            return False
        expected, request_id, traceparent = check, "", ""
        if end > at:
            if end - at < _MIN_ID_CHARS:
                return False
            request_id = secrets.token_hex(end - at)[: end - at]
            expected = msgspec.structs.replace(expected, request_id=request_id)
        if trace_end > trace:
            trace_id = secrets.token_hex(16)
            traceparent = f"00-{trace_id}-{secrets.token_hex(8)}-01"
            traceparent = traceparent.ljust(trace_end - trace, "0")[: trace_end - trace]
            expected = msgspec.structs.replace(expected, trace_id=trace_id)
        try:
            other = with_other_values(data, parts, request_id.encode(), traceparent.encode())
            return self._read(other, proxy) == expected
        except DecodeError:  # what was found is no value
            return False


def _again(known: DecodedCheck, parts: Cut) -> DecodedCheck | None:
    """Return what was read before with this message's ids; None for an id that is not ASCII.

    An empty place is a header that was not found: if it came, all of it is in the outline.
    """
    _, _, rest, at, end, trace, trace_end = parts
    request_id, trace_id = known.request_id, known.trace_id
    try:
        if end > at:
            request_id = str(rest[at:end], "ascii")
        if trace_end > trace:
            trace_id = trace_id_of(str(rest[trace:trace_end], "ascii"))
    except UnicodeDecodeError:
        return None
    return DecodedCheck(known.request, request_id, trace_id, known.ids, known.twins)


def _bytes(key: tuple[str, Outline], check: DecodedCheck) -> int:
    del check  # its texts are as long as the outline at most
    return _ENTRY_BYTES + 2 * sum(len(piece) for piece in key[1] if isinstance(piece, bytes))
