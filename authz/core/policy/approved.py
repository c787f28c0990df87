"""The requirement that the principal has approved the very call that is made."""

from dataclasses import dataclass
from hashlib import sha256
from math import inf
from typing import Final, Self

import msgspec

from authz.core.approval import DETAILS, Approval, ApprovalError, NamedCall, elements_of, name_call
from authz.core.approval_request import ApprovalRequest
from authz.core.decision import Delegation
from authz.core.delegation.settings import MAX_CLOCK_SKEW_SECONDS
from authz.core.policy.approval_settings import ApprovalSettings
from authz.core.policy.query import PolicyQuery, UnmetRequirement
from authz.core.policy.requirement import Requirement
from authz.core.protocols.mcp_headers import HAVE_URL_ERROR, VERSION_HEADER
from authz.core.reads import Reads
from authz.core.reason import Reason
from authz.core.request import MessageProtocol
from authz.core.single_use import SingleUse, UseKind
from authz.core.step_up import StepUp

EXPIRES: Final = "exp"  # of the token: how long a use by it must be remembered
_SHOWN_CHARS: Final = 120  # of a target's name in words for people: clients choose it


@dataclass(frozen=True, slots=True)
class Approved(Requirement):
    """Requires an element of ``authorization_details`` (RFC 9396) that names the call.

    ``step_up`` is how the rule wants the principal to authenticate: the challenge says it too, as
    whoever approves may have to (RFC 9470 section 3).
    """

    settings: ApprovalSettings
    step_up: StepUp

    @property
    def reads(self) -> Reads:
        """The claims, and the version of MCP, by which clients can be sent to a page."""
        headers = [VERSION_HEADER] if self.settings.url else []
        return Reads(headers=frozenset(headers), claims=frozenset({DETAILS, EXPIRES}))

    def unmet(self, query: PolicyQuery) -> UnmetRequirement | None:
        """Return why the call is not approved. Texts hold no argument."""
        try:
            call = self._call(query)
        except ApprovalError as error:  # no approval can name it
            return UnmetRequirement(str(error))
        try:
            self._found(call, query)
        except ApprovalError as error:
            return UnmetRequirement(
                f"the call needs an approval: {error}",
                Reason.APPROVAL_REQUIRED,
                self.step_up.parameters,
            )
        return None

    def stable_until(self, query: PolicyQuery) -> float:
        """Return when the approval ends, if it has an end of its own."""
        try:
            approval, _ = self._found(self._call(query), query)
        except ApprovalError:
            return inf
        return approval.expires_at or inf

    def use(self, query: PolicyQuery) -> SingleUse | None:
        """Return the use of the approval of a call that is approved; None if it is for many."""
        return self._found(self._call(query), query)[1]

    def request(self, query: PolicyQuery) -> ApprovalRequest | None:
        """Return what a client may ask for; None for a call that no approval can name."""
        try:
            call = self._call(query)
        except ApprovalError:
            return None
        name = call.identifier
        shown = name if len(name) <= _SHOWN_CHARS else f"{name[:_SHOWN_CHARS]}..."
        return ApprovalRequest(
            self.settings.type,
            call.element(self.settings.type),
            f"{call.action} {shown}".rstrip(),
            self._page(query),
        )

    def _call(self, query: PolicyQuery) -> NamedCall:
        """Return what an approval must name. Raises ApprovalError."""
        return name_call(query.operation, query.resource, self.settings.arguments)

    def _found(self, call: NamedCall, query: PolicyQuery) -> tuple[Approval, SingleUse | None]:
        """Return the first approval that names the call, and its use. Raises ApprovalError."""
        error = ApprovalError("the token has none of this type")
        for element in elements_of(query.delegation.claims, self.settings.type):
            try:
                approval = Approval.read(element)
                approval.check(call, query.now)
                use = _use(approval, query.delegation) if self.settings.once else None
            except ApprovalError as unfit:
                error = unfit
            else:
                return approval, use
        raise error

    def _page(self, query: PolicyQuery) -> str:
        """Return the page to approve on, "" where the client can't be sent to it."""
        page = self.settings.url
        if page is None or query.operation.protocol is not MessageProtocol.MCP:
            return ""
        version = (query.header(VERSION_HEADER) or "").strip()
        return page if version in HAVE_URL_ERROR else ""

    @classmethod
    def of(cls, settings: ApprovalSettings, step_up: StepUp) -> Self:
        """Compile the settings of a rule."""
        return cls(settings, step_up)


def _use(approval: Approval, by: Delegation) -> SingleUse:
    """Return the use of an approval, named by its own ``jti``, or by its token's and its content.

    The issuer keeps either unique (RFC 7519 section 4.1.7). Raises ApprovalError without such a
    name, or without the times that say for how long the use must be remembered.
    """
    if approval.token_id:
        named = ["own", by.issuer, approval.token_id]
        issued_at, expires_at = approval.issued_at, approval.expires_at
    else:
        ends = by.claims.get(EXPIRES)
        if not by.token_id or not by.issued_at or isinstance(ends, bool):
            raise ApprovalError("its token has no jti or iat, so it can't be used once")
        if not isinstance(ends, int | float):
            raise ApprovalError("its token has no exp, so it can't be used once")
        named = ["token", by.issuer, by.token_id, approval.digest.hex()]
        issued_at, expires_at = by.issued_at, float(ends)
    # A reload may widen the skew, and other replicas may have another: a mark must outlast that.
    return SingleUse(
        sha256(msgspec.json.encode(named)).digest(),
        issued_at - MAX_CLOCK_SKEW_SECONDS,
        expires_at + MAX_CLOCK_SKEW_SECONDS,
        UseKind.APPROVAL,
    )
