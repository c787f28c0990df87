"""Judges a token by one configured issuer: all that is wrong with it, route by route."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from authz.core.authorizer import RevocationCheck
from authz.core.decision import Delegation
from authz.core.delegation import IssuerSettings
from authz.core.delegation.faults import fault_of
from authz.core.delegation.times import MAX_NUMERIC_DATE
from authz.core.reason import Denied, Reason
from authz.core.routes import Route, RouteMode
from authz.review.token_check.asked import Asked
from authz.review.token_check.changes import Change
from authz.review.token_check.mending import Mended, mend
from authz.review.token_check.signing import Signature

# Refusals of this moment or this caller: another token of the same kind may be taken.
_PASSING: Final = frozenset(
    {
        Reason.TOKEN_EXPIRED,
        Reason.TOKEN_NOT_YET_VALID,
        Reason.TOKEN_REVOKED,
        Reason.AGENT_SUSPENDED,
        Reason.STEP_UP,
        Reason.POP_MISSING,
        Reason.TOKEN_KEY_UNKNOWN,
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
    Reason.TOKEN_AUDIENCE: "it is for another service: ask the issuer for a token for this one",
    Reason.ACTOR_MISMATCH: "it is another agent's token",
    Reason.ACTOR_MISSING: "the issuer has to say which agent acts, by act or a claim for clients",
    Reason.PRINCIPAL_REQUIRED: "nobody delegated, as far as it shows: the client may have got it "
    "for itself. Exchange a user's token, or let the issuer add a claim that only people have",
}
_NOT_ASKED: Final = Signature(unknown="another issuer's token")
_NOTHING: Final = "the issuer has to make another token"


@dataclass(frozen=True, slots=True)
class Finding:
    """A refusal: with the lines that take the token, or why nothing should."""

    fault: Denied
    change: Change | None

    def lines(self, *, is_hopeless: bool) -> list[str]:
        """Return the lines for a person; none of config where it would not be enough."""
        told = [f"  {self.fault.reason.code}: {self.fault.detail}"]
        if self.change is None:
            return [*told, f"    nothing here should take it: {self.why_not}"]
        return told if is_hopeless else [*told, *_change_lines(self.change)]

    @property
    def why_not(self) -> str:
        """Why no line should take the token; "" where one does."""
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


def _change_lines(change: Change) -> list[str]:
    only_if = f", only if {change.only_if}" if change.only_if else ""
    return [f"    would be taken with{only_if}:", f"      {change.yaml()}"]


@dataclass(frozen=True, slots=True)
class RouteVerdict:
    """What a token is on a route."""

    route: Route
    mended: Mended

    @property
    def counts(self) -> bool:
        """Tell whether the token counts there as the config is now."""
        return not self.mended.needed

    @property
    def rank(self) -> tuple[int, int]:
        """How far the token is from being taken there."""
        return len(self.mended.left), len(self.mended.needed)

    @property
    def name(self) -> str:
        """The route's name, or words for requests that no route matches."""
        return f"route {self.route.name}" if self.route.name else "where no route matches"

    @property
    def mode(self) -> str:
        """How the agent acts there, "" where the token can't count."""
        return "" if self.mended.left or self.mended.mode is None else str(self.mended.mode)


@dataclass(frozen=True, slots=True)
class IssuerVerdict:
    """A configured issuer's word on a token.

    Attributes:
        place: file and line of the issuer's block.
        routes: by route; empty if the issuer did not make the token.
        own: what it needs on a route for agents that act for themselves, if it could count there
            and does not elsewhere.
        why_not: why the issuer did not make it.
        agent: the SPIFFE ID of the agent that the token names, "" for none.
    """

    issuer: str
    place: str
    signature: Signature = _NOT_ASKED
    routes: tuple[RouteVerdict, ...] = ()
    own: Mended | None = None
    why_not: str = ""
    agent: str = ""

    @property
    def nearest(self) -> RouteVerdict:
        """The route on which the token is nearest to being taken."""
        return min(self.routes, key=lambda verdict: verdict.rank)

    @property
    def accepts(self) -> bool:
        """Tell whether the token counts on a route, its signature verified."""
        return self.signature.is_good and any(verdict.counts for verdict in self.routes)

    @property
    def would_accept(self) -> bool:
        """Tell whether it would count, and only its signature could not be verified."""
        is_unknown = bool(self.signature.unknown)
        return is_unknown and any(verdict.counts for verdict in self.routes)

    @property
    def findings(self) -> list[Finding]:
        """All that is wrong on the nearest route, and with the signature."""
        wrong = [Finding(self.signature.fault, None)] if self.signature.fault else []
        return [*wrong, *(Finding(*pair) for pair in self.nearest.mended.needed)]

    @property
    def is_hopeless(self) -> bool:
        """Tell whether nothing should take tokens of this kind here."""
        return any(f.change is None and f.fault.reason not in _PASSING for f in self.findings)

    def lines(self) -> list[str]:
        """Return the lines for a person."""
        head = f"{self.place}: issuer {self.issuer}"
        if not self.routes:
            return [f"{head}: not this one: {self.why_not}"]
        word = "accepts it" if self.accepts else "does not accept it"
        told = [f"{head}: {word}", f"  signature: {self.signature.words()}"]
        told.append(f"  agent: {self.agent or 'none that these settings know'}")
        for finding in self.findings:
            told += finding.lines(is_hopeless=self.is_hopeless)
        told += self._route_lines()
        if self.own_would:
            told.append(
                "  a route with modes: [autonomous] would take it, as the agent's own token"
            )
        return told

    def _route_lines(self) -> list[str]:
        """Say on which routes it counts, and what is wrong on the others alone."""
        known = {(f.fault.reason, f.fault.detail) for f in self.findings}
        told = []
        for verdict in self.routes:
            faults = verdict.mended.left
            others = [f for f in faults if (f.reason, f.detail) not in known]
            if verdict.counts:
                told.append(f"  {verdict.name}: counts, as {verdict.mode}")
            elif verdict.mode and not self.is_hopeless:
                told.append(f"  {verdict.name}: would count with these lines, as {verdict.mode}")
            elif others:
                words = "; ".join(f"{f.reason.code}: {f.detail}" for f in others)
                told.append(f"  {verdict.name}: {words}")
        return told

    def members(self) -> dict[str, Any]:
        """Return the members for ``--json``."""
        made_it = bool(self.routes)
        return {
            "issuer": self.issuer,
            "place": self.place,
            "accepts": self.accepts,
            "not_this_one": self.why_not,
            "agent": self.agent,
            "signature": self.signature.words() if made_it else None,
            "faults": [f.members(is_hopeless=self.is_hopeless) for f in self.findings]
            if made_it
            else [],
            "own": None if self.own is None else [c.yaml() for _, c in self.own.needed if c],
            "routes": [
                {
                    "route": verdict.route.name,
                    "counts": verdict.counts,
                    "mode": verdict.mode,
                    "reasons": [fault.reason.code for fault, _ in verdict.mended.needed],
                }
                for verdict in self.routes
            ],
        }


def judge(
    asked: Asked,
    issuer: IssuerSettings,
    routes: Sequence[Route],
    revocations: RevocationCheck,
    begun: IssuerVerdict,
) -> IssuerVerdict:
    """Judge the token as one of this issuer; ``begun`` has what is known before."""
    found = tuple(
        RouteVerdict(
            route, _with_revocation(asked, issuer, mend(asked, issuer, route), revocations)
        )
        for route in routes
    )
    verdict = replace(begun, routes=found)
    if not verdict.nearest.mended.left:
        return verdict
    own = replace(verdict.nearest.route, modes=frozenset({RouteMode.AUTONOMOUS}))
    mended = mend(asked, issuer, own)
    return verdict if mended.left else replace(verdict, own=mended)


def _with_revocation(
    asked: Asked, issuer: IssuerSettings, mended: Mended, revocations: RevocationCheck
) -> Mended:
    """Add the refusal of a revoked token."""
    members = asked.jws.payload
    delegation = Delegation(
        issuer=issuer.issuer,
        subject=str(members.get("sub", "")),
        actors=(),
        scopes=frozenset(),
        issued_at=_time(members.get("iat")),
        expires_at=0.0,
        token_id=str(members.get("jti", "")),
    )
    fault = fault_of(lambda: revocations.check(asked.caller(issuer), delegation))
    return mended if fault is None else replace(mended, needed=(*mended.needed, (fault, None)))


def _time(value: object) -> float:
    """Return a time in unix seconds; 0.0 for what is none, as long before any revocation."""
    is_time = isinstance(value, int | float) and 0 <= value < MAX_NUMERIC_DATE
    return float(value) if is_time and isinstance(value, int | float) else 0.0
