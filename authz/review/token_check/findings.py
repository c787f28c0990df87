"""A refusal of a token, in words for a person.

The lines that would accept it, or why none should.
"""

from dataclasses import dataclass
from typing import Any, Final

from authz.core.reason import Denied, Reason
from authz.review.token_check.changes import Change

# Refusals of this moment or this caller: another token of the same kind may be accepted.
PASSING: Final = frozenset(
    {
        Reason.TOKEN_EXPIRED,
        Reason.TOKEN_NOT_YET_VALID,
        Reason.TOKEN_REVOKED,
        Reason.AGENT_SUSPENDED,
        Reason.STEP_UP,
        Reason.POP_MISSING,
    }
)
_WHY_NOT: Final = {
    Reason.TOKEN_EXPIRED: "get a new token",
    Reason.TOKEN_NOT_YET_VALID: "wait for it, or set the clocks right",
    Reason.TOKEN_REVOKED: "get a new token, once the reason for the revocation is gone",
    Reason.STEP_UP: "the principal has to authenticate again",
    Reason.POP_MISSING: "get a token that is bound to a key (RFC 8705, RFC 9449)",
    Reason.TOKEN_KEY_UNKNOWN: "another issuer made it, or keys leads elsewhere: see authz keys",
    Reason.TOKEN_SIGNATURE: "it was changed, or another key signed it",
    Reason.TOKEN_ALG: "the issuer has to sign with an algorithm of the config reference",
    Reason.TOKEN_TYP: "it is no access token, or can't be told from an ID token: send the access "
    "token that the client got beside it",
    Reason.TOKEN_AUDIENCE: "it is for another service, or for none: ask the issuer for one for "
    "this service",
    Reason.ACTOR_MISMATCH: "it is another agent's token; or actor.map or actor.patterns names the "
    "wrong agent for it",
    Reason.ACTOR_MISSING: "the issuer has to say which agent acts, by act or a claim for clients",
    Reason.PRINCIPAL_REQUIRED: "nobody delegated, as far as it shows: the client may have got it "
    "for itself. Exchange a user's token, or let the issuer add a claim that only people have",
}
_NOTHING: Final = "the issuer has to make another token"


@dataclass(frozen=True, slots=True)
class Finding:
    """A refusal, with the lines that would accept the token, or why no lines should."""

    fault: Denied
    change: Change | None

    def lines(self, *, is_hopeless: bool) -> list[str]:
        """Return the lines for a person; without lines of config if these would not be enough."""
        told = [f"  {self.fault.reason.code}: {self.fault.detail}"]
        if self.change is None:
            return [*told, f"    nothing here should take it: {self.why_not}"]
        return told if is_hopeless else [*told, *change_lines(self.change)]

    @property
    def why_not(self) -> str:
        """Why no line should accept the token; "" if a line does."""
        return "" if self.change else _WHY_NOT.get(self.fault.reason, _NOTHING)

    def members(self, *, is_hopeless: bool) -> dict[str, Any]:
        """Return the members for ``--json``."""
        change = None if is_hopeless else self.change
        return {
            "reason": self.fault.reason.code,
            "detail": self.fault.detail,
            "add": change.yaml() if change else None,
            "only_if": change.only_if if change else "",
            "why_not": self.why_not,
        }


def change_lines(change: Change) -> list[str]:
    """Return the lines for a person that show what to write into an issuer's block."""
    only_if = f", only if {change.only_if}" if change.only_if else ""
    return [f"    would be taken with{only_if}:", f"      {change.yaml()}"]
