"""Finds a request's credential: a request with none or with several is refused."""

import re
from hashlib import sha256
from typing import Final

import msgspec

from authz.core.base64url import base64url
from authz.core.delegation.token_settings import TokenSettings
from authz.core.reads import Reads
from authz.core.reason import BEARER, DPOP_SCHEME, Denied, Reason
from authz.core.request import DPOP, Request

# Credentials between commas: a scheme and a token. Parameters of another scheme do not have this
# form (RFC 9110 section 11.4). A single search without backtracking counts them, since any client
# can send them: part by part, 60 KiB took 20 ms.
_CREDENTIALS: Final = re.compile(r"(?:\A|,)\s*+[!#-'*+.^-z|~0-9A-Z-]++ ++[^\s=,]++=*+\s*+(?=,|\Z)")
_DPOP: Final = DPOP_SCHEME.lower()
_PARTS: Final = re.compile(r"(?:\A|,)\s*+[^\s,]")


class Credential(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A token's text, and the scheme that it came with.

    Attributes:
        proof: the text of the ``DPoP`` header; None if it was not sent.
    """

    token: str
    scheme: str
    proof: str | None

    @property
    def is_dpop(self) -> bool:
        """Tell whether the token came with the DPoP scheme (RFC 9449 section 7.1)."""
        return self.scheme == DPOP_SCHEME

    def __repr__(self) -> str:
        """Return no part of it, so that no log line can hold one."""
        return "Credential()"


def token_hash(token: str) -> str:
    """Return a token's digest: base64url of its SHA-256, as ``ath`` of RFC 9449 section 4.1."""
    return base64url(sha256(token.encode()).digest())


def token_reads(settings: TokenSettings) -> Reads:
    """Return the headers that are read to find a credential and its DPoP proof."""
    return Reads(credentials=frozenset({settings.header, DPOP}))


def has_credential(request: Request, settings: TokenSettings) -> bool:
    """Tell whether the request has anything that could be a credential; an empty header could."""
    sent = (request.header(settings.header), request.header(DPOP))
    return sent != (None, None) or bool(request.elsewhere)


def find_credential(request: Request, settings: TokenSettings) -> Credential:
    """Return the request's credential. Raises Denied(TOKEN_MISSING | AUTH_AMBIGUOUS)."""
    value = request.header(settings.header) or ""
    sent = _count(value, settings) + len(request.elsewhere)
    if sent > 1:
        where = " and ".join([settings.header, *request.elsewhere])
        raise Denied(Reason.AUTH_AMBIGUOUS, f"{sent} credentials, looked for in {where}")
    if not value:
        wrong = "".join(
            f"; a credential in the {place} is not accepted" for place in request.elsewhere
        )
        raise Denied(Reason.TOKEN_MISSING, f"no {settings.header} header{wrong}")
    proof = request.header(DPOP)
    if not settings.scheme:
        return Credential(value, BEARER if proof is None else DPOP_SCHEME, proof)
    return Credential(*_split(value, settings.scheme), proof)


def _count(value: str, settings: TokenSettings) -> int:
    """Return the number of credentials in a header: Envoy joins repeated headers with commas.

    No token has a comma. Credentials of other schemes may have commas between their parameters.
    """
    if "," not in value:
        return 1 if value else 0
    if not settings.scheme:
        return len(_PARTS.findall(value))
    return max(1, len(_CREDENTIALS.findall(value)))


def _split(value: str, expected: str) -> tuple[str, str]:
    """Return the token and its scheme, which may be in any case (RFC 9110 section 11.1).

    Raises Denied(TOKEN_MISSING).
    """
    scheme, _, token = value.partition(" ")
    lower = scheme.lower()
    if lower == _DPOP:
        return token, DPOP_SCHEME
    if lower == expected.lower():
        return token, BEARER
    raise Denied(Reason.TOKEN_MISSING, f"the scheme is not {expected}")
