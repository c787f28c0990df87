"""Single uses: a DPoP proof, or a token for one request, which no other request may use.

A verified token's delegation names them; the edge marks them as used (step 6).
"""

from enum import StrEnum

import msgspec

from authz.core.reason import Reason


class UseKind(StrEnum):
    """What a request may use once: a DPoP proof, or a token of an issuer with ``one_time``."""

    PROOF = "proof"
    TOKEN = "token"

    @property
    def reason(self) -> Reason:
        """The reason to refuse what another request has used."""
        return Reason.DPOP_PROOF if self is UseKind.PROOF else Reason.TOKEN_USED


class SingleUse(msgspec.Struct, frozen=True, gc=False):
    """Something that one request alone may use: a DPoP proof (RFC 9449 section 11.1), or a token.

    Attributes:
        key: a digest that names it.
        made_at: unix seconds by this server's clock: it was certainly not used before.
        until: unix seconds; from then on it is refused for its age anyway.
    """

    key: bytes
    made_at: float
    until: float
    kind: UseKind = UseKind.PROOF
