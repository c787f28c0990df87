"""Base64url without padding, as JOSE uses it (RFC 7515 section 2)."""

from base64 import urlsafe_b64encode
from binascii import Error as Base64Error
from binascii import a2b_base64
from typing import Final

# Maps the alphabet of base64url to that of base64, and base64's other characters to a foreign one.
_AS_BASE64: Final = bytes.maketrans(b"-_+/=", b"+/!!!")
# By the length of the rest after full groups of four: the last characters without spare bits.
_LAST_CHARACTERS: Final = {2: b"AQgw", 3: b"AEIMQUYcgkosw048"}


class Base64UrlError(ValueError):
    """Signals a text that is not base64url, or not the only text of its bytes.

    The message continues "it is", and holds none of the text.
    """


def base64url(data: bytes) -> str:
    """Encode bytes as base64url text."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def decode_base64url(text: bytes) -> bytes:
    """Decode a text strictly: one alphabet, no padding, no spare bits. Raises Base64UrlError."""
    rest = len(text) % 4
    try:
        data = a2b_base64(text.translate(_AS_BASE64) + b"=" * (-rest % 4), strict_mode=True)
    except Base64Error:
        raise Base64UrlError("not base64url") from None
    # Each value has a single text: spare bits in the last character would allow a second text.
    if rest and text[-1] not in _LAST_CHARACTERS[rest]:
        raise Base64UrlError("not canonical base64url")
    return data
