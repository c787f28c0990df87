"""Compares email addresses: two ways to write the same mailbox must not be two mailboxes."""

import unicodedata
from typing import Final

MAX_CHARS: Final = 1024  # more than any mailbox has (RFC 5321 section 4.5.3.1)
_A_LABEL: Final = "xn--"  # RFC 5890 section 2.3.2.1
_MAX_LABEL_CHARS: Final = 63  # RFC 1035 section 2.3.4; to decode one takes quadratic time


def email_key(text: str) -> str:
    """Return what is the same for all ways to write an address.

    They differ in case, in Unicode's forms of a character (UAX 15), in blanks around it, and in how
    the domain is written (RFC 5891). Mailboxes that a server tells apart by case alone are the
    same here: more is revoked, never less.
    """
    if text.isascii():
        folded = text.casefold().strip()
    else:
        folded = unicodedata.normalize("NFKC", text).casefold()
        folded = unicodedata.normalize("NFKC", folded).strip()
    local, at, domain = folded.rpartition("@")
    if _A_LABEL in domain:
        domain = ".".join(map(_readable, domain.split(".")))
    return f"{local}{at}{domain.removesuffix('.')}"


def _readable(label: str) -> str:
    """Return the Unicode form of a label that stands in its ASCII form."""
    if not label.startswith(_A_LABEL) or len(label) > _MAX_LABEL_CHARS:
        return label
    try:
        plain = label.removeprefix(_A_LABEL).encode("ascii").decode("punycode")
    except UnicodeError:
        return label
    return unicodedata.normalize("NFKC", plain.casefold())
