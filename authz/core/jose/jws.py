"""A compact JWS, taken apart strictly (RFC 7515 section 7.1, RFC 8725), not yet verified.

Two readers must never see two tokens in one text: so one alphabet, no padding, no spare bits, no
doubled members. What the header says about keys (jwk, jku, x5u, x5c) is never looked at.
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
    """The parts of a token, unverified. It has no repr, so that no log line can hold it."""

    header: Mapping[str, Any]
    payload: Mapping[str, Any]
    signing_input: bytes
    signature: bytes

    @property
    def algorithm(self) -> str:
        """``alg``; "" when it is no string."""
        value = self.header.get("alg")
        return value if isinstance(value, str) else ""

    @property
    def key_id(self) -> str:
        """``kid``, checked by ``check_header``."""
        return str(self.header.get("kid", ""))


def parse_compact(token: str, max_bytes: int) -> Jws:
    """Take a token apart. Raises Denied(TOKEN_TOO_LARGE | TOKEN_MALFORMED)."""
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
    # One text for one value: spare bits set in the last character would make a second one. Groups
    # of four have none, and the alphabet was checked: so what is left is all there is to compare.
    rest = len(text) % 4
    if rest and base64url(data[1 - rest :]).encode() != text[-rest:]:
        raise Denied(Reason.TOKEN_MALFORMED, f"its {name} is not canonical base64url")
    return data
