"""Single uses: a DPoP proof, a token for one request, or the approval of one call.

A verified token's delegation names the first two, the permit of rules that require an approval the
last; the edge marks them as used (step 6).
"""

from enum import StrEnum
from typing import Final

import msgspec

from authz.core.approval_request import ApprovalRequest
from authz.core.reason import Reason


class UseKind(StrEnum):
    """What a request may use once.

    A DPoP proof, a token of an issuer with ``one_time``, or an approval by a rule with ``once``.
    """

    PROOF = "proof"
    TOKEN = "token"
    APPROVAL = "approval"

    @property
    def reason(self) -> Reason:
        """The reason to refuse what another request has used."""
        return _REASONS[self]


_REASONS: Final = {
    UseKind.PROOF: Reason.DPOP_PROOF,
    UseKind.TOKEN: Reason.TOKEN_USED,
    UseKind.APPROVAL: Reason.APPROVAL_REQUIRED,
}


class SingleUse(msgspec.Struct, frozen=True, gc=False):
    """Something that one request alone may use: a proof (RFC 9449 11.1), a token, an approval.

    Attributes:
        key: a digest that names it.
        made_at: unix seconds by this server's clock: it was certainly not used before.
        until: unix seconds; from then on it is refused for its age anyway.
        approvals: all that a client must ask for if an approval was used before.
    """

    key: bytes
    made_at: float
    until: float
    kind: UseKind = UseKind.PROOF
    approvals: tuple[ApprovalRequest, ...] = ()
