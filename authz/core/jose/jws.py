"""A strict parser of compact JWS (RFC 7515 section 7.1, RFC 8725), which verifies nothing.

Two readers must never see two tokens in the same text: so a single alphabet, no padding, no spare
bits, no doubled members. Keys in the header (jwk, jku, x5u, x5c) are never used.
"""

import re
from base64 import urlsafe_b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from authz.core import strict_json
from authz.core.base64url import base64url
from authz.core.reason import Denied, Reason

_COMPACT: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")


@dataclass(frozen=True, slots=True, repr=False)
class Jws:
    """The parts of an unverified token. It has no repr, so that no log line can hold them."""

    header: Mapping[str, Any]
    payload: Mapping[str, Any]
    signing_input: bytes
    signature: bytes

    @property
    def algorithm(self) -> str:
        """The ``alg``; "" if it is not a string."""
        value = self.header.get("alg")
        return value if isinstance(value, str) else ""

    @property
    def key_id(self) -> str:
        """The ``kid`` as text; ``check_header`` requires a string."""
        return str(self.header.get("kid", ""))


def parse_compact(token: str, max_bytes: int) -> Jws:
    """Parse a token, unverified. Raises Denied(TOKEN_TOO_LARGE | TOKEN_MALFORMED)."""
    if len(token) > max_bytes:
        raise Denied(Reason.TOKEN_TOO_LARGE, f"longer than {max_bytes} bytes")
    if not _COMPACT.fullmatch(token):
        raise Denied(Reason.TOKEN_MALFORMED, "not three base64url parts")
    header, payload, signature = token.split(".")
    return Jws(
        header=_members(header, "header"),
        payload=_members(payload, "payload"),
        signing_input=f"{header}.{payload}".encode("ascii"),
        signature=_decode(signature, "signature"),
    )


def _members(part: str, name: str) -> Mapping[str, Any]:
    try:
        members = strict_json.loads(_decode(part, name))
    except strict_json.StrictJsonError as error:
        raise Denied(Reason.TOKEN_MALFORMED, f"its {name}: {error}") from None
    if not isinstance(members, dict):
        raise Denied(Reason.TOKEN_MALFORMED, f"its {name} is not a JSON object")
    return members


def _decode(part: str, name: str) -> bytes:
    text = part.encode("ascii")
    try:
        data = urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    except Base64Error:
        raise Denied(Reason.TOKEN_MALFORMED, f"its {name} is not base64url") from None
    # A single text for each value: spare bits in the last character would allow another text.
    # Whole groups of four have no spare bits, and the alphabet was checked: so only the rest has to
    # be compared.
    rest = len(text) % 4
    if rest and base64url(data[1 - rest :]).encode() != text[-rest:]:
        raise Denied(Reason.TOKEN_MALFORMED, f"its {name} is not canonical base64url")
    return data
