"""The consent of principals: what the token service asks, and the check without any consents."""

from collections.abc import Mapping
from math import inf
from typing import Any, Protocol

import msgspec

from authz.core.reason import Denied, Reason


class ConsentAsked(msgspec.Struct, frozen=True):
    """What a principal must have consented to.

    Attributes:
        issuer, subject: the principal, as the first issuer names it.
        agent: the SPIFFE ID of the agent that would act.
        audiences: of the token, all of which must be covered.
        scopes: likewise.
        details: elements of authorization_details, each of which needs consent to that very call.
    """

    issuer: str
    subject: str
    agent: str
    audiences: tuple[str, ...]
    scopes: frozenset[str]
    details: tuple[Mapping[str, Any], ...] = ()


class ConsentToCall(msgspec.Struct, frozen=True):
    """The consent that covers a detail, of which an approval in the token is made.

    Attributes:
        name: its digest: all tokens that are made by it have the same approval.
        since, until: when it was given, and when it ends, in unix seconds.
    """

    name: str
    since: float
    until: float


class ConsentFound(msgspec.Struct, frozen=True):
    """The consents that cover what was asked, one for each detail, or one in all.

    Attributes:
        id: of the consent; of several, their ids with a blank between them.
        until: unix seconds, by which the token must have ended.
        once: digests of those that may be used once: the caller has them used up before it signs.
        calls: those for the details, in the details' order.
    """

    id: str
    until: float = inf
    once: tuple[str, ...] = ()
    calls: tuple[ConsentToCall, ...] = ()


class ConsentCheck(Protocol):
    """Looks up the consents of principals.

    Guarantees to return at once, from memory.
    """

    def require(self, asked: ConsentAsked, now: float) -> ConsentFound:
        """Return the consent that covers all that is asked.

        Raises Denied(APPROVAL_REQUIRED | STORE_UNAVAILABLE).
        """


class NoConsents:
    """The check where no consents are configured: there is never one."""

    def require(self, asked: ConsentAsked, now: float) -> ConsentFound:
        """Raise Denied(APPROVAL_REQUIRED)."""
        del asked, now
        raise Denied(Reason.APPROVAL_REQUIRED, "the rule needs consent, and no consents are kept")
