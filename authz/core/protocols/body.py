"""Reads the JSON of a request's body, after checking that the body is complete and not encoded.

In two cases a proxy sends a part of a body that looks complete: a part of exactly the proxy's
limit, and a part in a single HTTP/2 frame. So the flag alone is not trusted. No detail of a refusal
here repeats any of a body.
"""

from collections.abc import Set as AbstractSet
from typing import Final

from authz.core import strict_json
from authz.core.protocols.message import OWS, MessageInput
from authz.core.reason import Denied, Reason

# Reading it takes some 2 ms, and up to 10 with the most values allowed. Real calls have some 2 KiB.
MAX_BODY_BYTES: Final = 256 * 1024
# Bytes that may begin a value. Each value costs time and some 100 bytes of memory. In texts these
# bytes are rare enough: English prose has a comma in 60 bytes.
MAX_VALUES: Final = 16 * 1024
# Colons: each member of an object has one, and texts have few. A member costs more than a plain
# value, as its name is compared; real bodies have a few hundred.
MAX_MEMBERS: Final = 8 * 1024
MAX_DEPTH: Final = 32  # JSON schemas and filters in arguments nest deeper than tokens do
JSON_TYPES: Final = frozenset({"application/json"})
_MASK: Final = "!"  # Envoy writes it into texts for each byte that is not UTF-8
_REPLACEMENT: Final = "\ufffd".encode()  # agentgateway writes it
_NO_BODY: Final = "no body was sent, or the proxy does not pass it on"
_UTF8: Final = frozenset({"charset=utf-8", 'charset="utf-8"'})


def parse(sent: MessageInput, types: AbstractSet[str] = JSON_TYPES) -> object:
    """Return the JSON of the body, whose media type must be among ``types``.

    Numbers are ``int`` or ``float``, no member is doubled, and no half character is left.

    Raises Denied: BODY_TRUNCATED for a body that is cut or larger than the limit,
    BODY_UNINSPECTABLE for a body whose end or coding is not known, MESSAGE_MALFORMED for a body
    that is not JSON.
    """
    _require_whole(sent)
    _require_plain(sent, types)
    body = sent.body
    if strict_json.values_at_most(body) > MAX_VALUES:
        raise Denied(Reason.BODY_TRUNCATED, f"the body may hold more than {MAX_VALUES} values")
    if body.count(b":") > MAX_MEMBERS:
        raise Denied(Reason.BODY_TRUNCATED, f"the body may hold more than {MAX_MEMBERS} members")
    try:
        value = strict_json.loads(body, MAX_DEPTH)
    except strict_json.StrictJsonError as error:
        raise Denied(Reason.MESSAGE_MALFORMED, str(error)) from None
    if sent.is_text and b"!" in body:
        _require_unmasked_members(value)
    return value


def require_unmasked(sent: MessageInput, text: str) -> None:
    """Refuse a name in which the proxy may have masked bytes. Raises Denied(BODY_UNINSPECTABLE)."""
    if may_be_masked(sent, text):
        raise Denied(Reason.BODY_UNINSPECTABLE, "a name may hold a byte that is not UTF-8")


def may_be_masked(sent: MessageInput, text: str) -> bool:
    """Tell whether the proxy may have replaced bytes that the client sent in this text."""
    return sent.is_text and _MASK in text


def _require_whole(sent: MessageInput) -> None:
    """Refuse a body that may be cut (RFC 9110 section 8.6 for the length)."""
    body = sent.body
    seen = len(body)
    partial = sent.header("x-envoy-auth-partial-body")
    if not seen and partial is None and not sent.size:  # as on a proxy that sends no bodies
        raise Denied(Reason.BODY_UNINSPECTABLE, _NO_BODY)
    # Without the flag the proxy is not Envoy. If a client of such a proxy sends the flag itself, it
    # proves nothing.
    if sent.size < 0 or (partial is None and sent.size != seen):
        raise Denied(Reason.BODY_TRUNCATED, "the body is not as long as the proxy says")
    if partial not in (None, "false"):
        raise Denied(Reason.BODY_TRUNCATED, "the proxy says that the body is cut")
    announced = sent.header("content-length")
    if announced is not None and announced != str(seen):
        raise Denied(Reason.BODY_TRUNCATED, "the body is not as long as its content-length")
    if sent.max_bytes is not None and seen >= sent.max_bytes:
        raise Denied(Reason.BODY_TRUNCATED, "the body fills the proxy's limit: more may follow")
    if announced is None and sent.max_bytes is None:
        detail = (
            "no content-length, and neither authz_max_request_bytes nor the profile's"
            " max_request_bytes names the proxy's limit"
        )
        raise Denied(Reason.BODY_UNINSPECTABLE, detail)
    if seen > MAX_BODY_BYTES:
        raise Denied(Reason.BODY_TRUNCATED, f"the body is larger than {MAX_BODY_BYTES} bytes")
    if not seen:
        raise Denied(Reason.BODY_UNINSPECTABLE, _NO_BODY)


def _require_plain(sent: MessageInput, types: AbstractSet[str]) -> None:
    """Refuse content codings and media types in which the bytes have another meaning."""
    coding = sent.header("content-encoding")
    if coding is not None and coding.lower() != "identity":
        raise Denied(Reason.BODY_UNINSPECTABLE, "the body has a content-encoding")
    content_type = sent.header("content-type") or ""
    if content_type not in types:
        media_type, _, parameter = content_type.lower().partition(";")
        # One parameter at most: if there are two charsets, readers disagree on which counts.
        if media_type.strip(OWS) not in types or parameter.strip(OWS) not in _UTF8:
            raise Denied(Reason.BODY_UNINSPECTABLE, "the content-type is not JSON in UTF-8")
    if sent.is_text and _REPLACEMENT in sent.body:
        raise Denied(Reason.BODY_UNINSPECTABLE, "the body held bytes that are not UTF-8")


def _require_unmasked_members(value: object) -> None:
    """Refuse masked member names.

    Two may have been equal, and each may have been a different name.
    """
    if isinstance(value, dict):
        if any(_MASK in name for name in value):
            raise Denied(Reason.BODY_UNINSPECTABLE, "a name may hold a byte that is not UTF-8")
        value = list(value.values())
    if isinstance(value, list):
        for child in value:
            _require_unmasked_members(child)
