"""Writes the answers to Envoy: every CheckResponse.

Envoy's handling of an answer was measured, and decides the shape of ours:

- Only ``status.code`` decides, and 0 is an allow, whatever else the message holds: so an answer is
  made in ``_allowed`` or ``_refused``, and only ``_allowed`` writes no code.
- A header that one answer sets and removes is removed: so each owned name is in one list, never in
  both (``authz.edge.identity_headers``).
- ``append_action`` is ignored by some versions and obeyed by others, whose default appends to the
  client's value: so it is always OVERWRITE_IF_EXISTS_OR_ADD, and ``append`` is never written.
- A bad byte in a header value is a 500 or a split response: so values are escaped to visible ASCII.
  Every reader cuts off blanks around a value: so they are escaped too.
"""

import struct
from functools import lru_cache
from typing import Final, Self

import msgspec

from authz._pb import ext_authz_pb2 as pb
from authz.adapters.audit.records.line import CacheUse
from authz.core.reason import Reason
from authz.edge.answered import Answered
from authz.edge.identity_headers import HeaderShape
from authz.edge.refusal import jsonrpc_error
from authz.edge.response import ID_PLACE, METADATA, Response

OVERWRITE: Final = pb.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
_SHAPES_KEPT: Final = 256  # of names that answers set and remove
# Allows share nearly all of their parts: the agent, the issuer, rules, scopes. A part is at most as
# long as a token, by default 8 KiB, so these take some 4 MB at most.
_PIECES_KEPT: Final = 512
_PIECE_CHARS: Final = 256  # a longer one is a token's, a secret that is not used again for long


class ResponseTemplate(msgspec.Struct, frozen=True, gc=False):
    """A response as wire bytes, to be completed with a decision id and the details of each use.

    A cached decision has a template, which is made once and completed for each request. The id has
    places of its length in the bytes, so completing is cutting and joining. Each part is encoded
    separately and appended, so that answers share the encoded parts: every reader of protobuf
    merges a second ``dynamic_metadata``, ``ok_response`` or ``denied_response`` with the first.

    Attributes:
        pieces: the bytes between the places of the id.
        error: likewise, for a JSON-RPC error that goes into the body; empty for another body.
        ends: the last bytes for a new and for a cached decision; many templates share them.
    """

    pieces: tuple[bytes, ...]
    error: tuple[bytes, ...]
    ends: tuple[bytes, bytes]

    def __repr__(self) -> str:
        """Return no part of it, which may have the upstream's credential."""
        return "ResponseTemplate()"

    @classmethod
    def of(cls, response: Response) -> Self:
        """Encode a response as a template."""
        reason = response.reason
        data = _allowed(response) if reason is None else _refused(response, reason)
        data += b"".join(map(_told, METADATA, response.described))
        error, place = response.body.error.encode(), ID_PLACE.encode()
        error_pieces = tuple(error.split(place)) if error else ()
        return cls(tuple(data.split(place)), error_pieces, _ends(response.shape))


def check_response(answered: Answered) -> bytes:
    """Return the serialised CheckResponse.

    The id is in lower-case hex characters, as long as its place. The ids of JSON-RPC requests go
    into a JSON-RPC error; the twins are further headers to remove, for an allow only.
    """
    rendered, check = answered.rendered, answered.check
    template = rendered.encoded
    if not isinstance(template, ResponseTemplate):
        template = rendered.encoded = ResponseTemplate.of(rendered.response)
    text = answered.decision_id.encode("ascii")
    body = text.join(template.pieces)
    if template.error:
        error = jsonrpc_error(text.join(template.error), check.ids)
        denied = pb.DeniedHttpResponse(body=error.decode())
        body += pb.CheckResponse(denied_response=denied).SerializeToString()
    if check.twins and rendered.reason is None:
        removed = pb.OkHttpResponse(headers_to_remove=check.twins)
        body += pb.CheckResponse(ok_response=removed).SerializeToString()
    return body + template.ends[answered.is_hit] + _double(answered.valid_until)


def _use(cache: CacheUse) -> bytes:
    """Return the bytes to append for a cached or a new decision, without the last double."""
    message = pb.CheckResponse()
    message.dynamic_metadata.update({"cache": cache, "valid_until": 1.0})
    data = message.SerializeToString(deterministic=True)
    if not data.endswith(_double(1.0)):  # protobuf guarantees the map's order
        raise AssertionError
    return data.removesuffix(_double(1.0))


_double: Final = struct.Struct("<d").pack  # as protobuf writes one
_HIT: Final = _use(CacheUse.HIT)
_MISS: Final = _use(CacheUse.MISS)
_ALLOWED: Final = pb.CheckResponse(status=pb.Status(code=0)).SerializeToString()


@lru_cache(_SHAPES_KEPT)  # compared by identity
def _ends(shape: HeaderShape) -> tuple[bytes, bytes]:
    """Return the end of the answer for a new and for a cached decision, without the last double."""
    ok = pb.OkHttpResponse(headers_to_remove=shape.removed)
    removed = pb.CheckResponse(ok_response=ok).SerializeToString() if shape.removed else b""
    return removed + _MISS, removed + _HIT


@lru_cache(_PIECES_KEPT)
def _told(name: str, text: str) -> bytes:
    """Return an answer with a text that the proxy may log."""
    message = pb.CheckResponse()
    message.dynamic_metadata.fields[name].string_value = text
    return message.SerializeToString()


def _set(name: str, value: str) -> bytes:
    """Return an answer that sets a header in the upstream's request."""
    return (_kept_set if len(value) <= _PIECE_CHARS else _new_set)(name, value)


def _new_set(name: str, value: str) -> bytes:
    message = pb.CheckResponse()
    _add_header(message.ok_response, name, value)
    return message.SerializeToString()


_kept_set: Final = lru_cache(_PIECES_KEPT)(_new_set)


def _allowed(response: Response) -> bytes:
    """Return the beginning of an allow: the only place that writes one."""
    return _ALLOWED + b"".join(map(_set, response.shape.names, response.values))


def _refused(response: Response, reason: Reason) -> bytes:
    message = pb.CheckResponse()
    message.status.code = reason.grpc_code
    message.status.message = reason.code
    denied = message.denied_response
    denied.status.code = response.status
    denied.body = response.body.text
    for name, value in response.headers:
        _add_header(denied, name, value)
    return message.SerializeToString()


def _add_header(response: pb.OkHttpResponse | pb.DeniedHttpResponse, name: str, value: str) -> None:
    """Add a header, filled in place.

    Making it separately and copying it takes three times as long.
    """
    option = response.headers.add()
    option.append_action = OVERWRITE
    header = option.header
    header.key, header.value = name, value
