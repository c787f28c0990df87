"""The one credential of a request: found, or refused because there is none, or more than one."""

from dataclasses import dataclass

from authz.delegation.settings import TokenSettings
from authz.reason import BEARER, DPOP_SCHEME, Denied, Reason
from authz.request import DPOP, Request


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
        """Whether the client shows that it holds the token's key (RFC 9449 section 7.1)."""
        return self.scheme == DPOP_SCHEME


def has_credential(request: Request, settings: TokenSettings) -> bool:
    """Whether anything at all was sent that could be one."""
    return bool(request.header(settings.header) or request.elsewhere or request.header(DPOP))


def credential_of(request: Request, settings: TokenSettings) -> Credential:
    """The credential. Raises Denied(TOKEN_MISSING | AUTH_AMBIGUOUS | TOKEN_MALFORMED).

    A scheme is compared in its case: one spelling, as everywhere here.
    """
    value = request.header(settings.header)
    if request.elsewhere:
        where = " and ".join(request.elsewhere)
        raise Denied(Reason.AUTH_AMBIGUOUS, f"a credential in the {where} is not accepted")
    if not value:
        raise Denied(Reason.TOKEN_MISSING, f"no {settings.header} header")
    if "," in value:  # Envoy joins repeated headers with one; no token has one
        raise Denied(Reason.AUTH_AMBIGUOUS, f"more than one {settings.header} header")
    proof = request.header(DPOP)
    if not settings.scheme:
        return Credential(value, BEARER if proof is None else DPOP_SCHEME, proof)
    return Credential(*_split(value, settings.scheme), proof)


def _split(value: str, expected: str) -> tuple[str, str]:
    """The token and its scheme."""
    scheme, _, token = value.partition(" ")
    for known in (expected, DPOP_SCHEME):
        if scheme == known and token:
            return token, DPOP_SCHEME if known == DPOP_SCHEME else BEARER
        if scheme.lower() == known.lower():
            raise Denied(Reason.TOKEN_MALFORMED, f"not '{known} <token>'")
    raise Denied(Reason.TOKEN_MISSING, f"the scheme is not {expected}")
