"""The one credential of a request: found, or refused because there is none, or more than one."""

import re
from dataclasses import dataclass
from typing import Final

from authz.core.delegation.settings import TokenSettings
from authz.core.reads import Reads
from authz.core.reason import BEARER, DPOP_SCHEME, Denied, Reason
from authz.core.request import DPOP, Request

# What commas separate, counted in one search without a step back, since anybody writes it: part by
# part, 60 KiB took 20 ms. A scheme and a token; parameters of another scheme have no such form
# (RFC 9110 section 11.4).
_CREDENTIALS: Final = re.compile(r"(?:\A|,)\s*+[!#-'*+.^-z|~0-9A-Z-]++ ++[^\s=,]++=*+\s*+(?=,|\Z)")
_PARTS: Final = re.compile(r"(?:\A|,)\s*+[^\s,]")


@dataclass(frozen=True, slots=True, repr=False)
class Credential:
    """A token's text, and the scheme that it came with. It has no repr, so that no log has it.

    Attributes:
        proof: the text of the ``DPoP`` header, None when none was sent.
    """

    token: str
    scheme: str
    proof: str | None

    @property
    def is_dpop(self) -> bool:
        """Tell whether the client shows that it holds the token's key (RFC 9449 section 7.1)."""
        return self.scheme == DPOP_SCHEME


def token_reads(settings: TokenSettings) -> Reads:
    """Return what is read of a request to find its credential, and the proof that it is held."""
    return Reads(credentials=frozenset({settings.header, DPOP}))


def has_credential(request: Request, settings: TokenSettings) -> bool:
    """Tell whether anything at all was sent that could be one."""
    return bool(request.header(settings.header) or request.elsewhere or request.header(DPOP))


def find_credential(request: Request, settings: TokenSettings) -> Credential:
    """Return the credential. Raises Denied(TOKEN_MISSING | AUTH_AMBIGUOUS)."""
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
    """How many credentials a header holds: Envoy joins repeated ones with commas.

    No token has a comma. Credentials of other schemes may, between their parameters.
    """
    if "," not in value:
        return 1 if value else 0
    if not settings.scheme:
        return len(_PARTS.findall(value))
    return max(1, len(_CREDENTIALS.findall(value)))


def _split(value: str, expected: str) -> tuple[str, str]:
    """Return the token and its scheme, which is written in any case (RFC 9110 section 11.1)."""
    scheme, _, token = value.partition(" ")
    if scheme.lower() == DPOP_SCHEME.lower():
        return token, DPOP_SCHEME
    if scheme.lower() == expected.lower():
        return token, BEARER
    raise Denied(Reason.TOKEN_MISSING, f"the scheme is not {expected}")
