"""Checks a token against one configured issuer: all its faults, route by route."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from authz.core.authorizer import RevocationCheck
from authz.core.decision import Delegation
from authz.core.delegation import IssuerSettings
from authz.core.delegation.faults import collect
from authz.core.delegation.times import MAX_NUMERIC_DATE
from authz.core.routes import Route, RouteMode
from authz.review.token_check.asked import Asked
from authz.review.token_check.findings import PASSING, Finding, change_lines
from authz.review.token_check.mending import Mended, mend
from authz.review.token_check.signing import Signature
from authz.review.token_check.status import TokenStatus

_NO_STATUS: Final = TokenStatus()
_NOT_ASKED: Final = Signature(unknown="another issuer's token")


@dataclass(frozen=True, slots=True)
class RouteVerdict:
    """The verdict on a token on a route."""

    route: Route
    mended: Mended

    @property
    def counts(self) -> bool:
        """Tell whether the token counts there as the config is now."""
        return not self.mended.needed

    @property
    def rank(self) -> tuple[int, int]:
        """The distance of the token from being accepted there."""
        return len(self.mended.left), len(self.mended.needed)

    @property
    def name(self) -> str:
        """The route's name, or words for requests that no route matches."""
        return f"route {self.route.name}" if self.route.name else "where no route matches"

    @property
    def mode(self) -> str:
        """How the agent acts there, "" if the token can't count."""
        is_hopeless = any(fault.reason not in PASSING for fault in self.mended.left)
        return "" if is_hopeless or self.mended.mode is None else str(self.mended.mode)


@dataclass(frozen=True, slots=True)
class IssuerVerdict:
    """A configured issuer's verdict on a token.

    Attributes:
        place: file and line of the issuer's block.
        routes: by route; empty if the issuer did not make the token.
        own: its needs on a route for agents that act for themselves, if it could count there and
            not elsewhere.
        why_not: why the issuer did not make it.
        agent: the SPIFFE ID of the agent that the token names, "" for none.
        status: what its status list says of it.
    """

    issuer: str
    place: str
    signature: Signature = _NOT_ASKED
    routes: tuple[RouteVerdict, ...] = ()
    own: Mended | None = None
    why_not: str = ""
    agent: str = ""
    status: TokenStatus = _NO_STATUS

    @property
    def nearest(self) -> RouteVerdict:
        """The route on which the token is nearest to being accepted."""
        return min(self.routes, key=lambda verdict: verdict.rank)

    @property
    def accepts(self) -> bool:
        """Tell whether the token counts on a route, its signature and status verified."""
        return self._is_verified and any(verdict.counts for verdict in self.routes)

    @property
    def would_accept(self) -> bool:
        """Tell whether it would count, and only its signature or status could not be verified."""
        is_unknown = bool(self.signature.unknown) or (
            self.signature.is_good and self.status.is_unknown
        )
        return is_unknown and any(verdict.counts for verdict in self.routes)

    @property
    def _is_verified(self) -> bool:
        return self.signature.is_good and self.status.is_good

    @property
    def findings(self) -> list[Finding]:
        """All faults on the nearest route, and of the signature and the status."""
        faults = self.signature.fault, self.status.fault
        wrong = [Finding(fault, None) for fault in faults if fault is not None]
        return [*wrong, *(Finding(*pair) for pair in self.nearest.mended.needed)]

    @property
    def is_hopeless(self) -> bool:
        """Tell whether no settings should accept tokens of this kind here."""
        return any(f.change is None and f.fault.reason not in PASSING for f in self.findings)

    def lines(self) -> list[str]:
        """Return the lines for a person."""
        head = f"{self.place}: issuer {self.issuer}"
        if not self.routes:
            return [f"{head}: not this one: {self.why_not}"]
        word = "accepts it" if self.accepts else "does not accept it"
        told = [f"{head}: {word}", f"  signature: {self.signature.words()}"]
        if self.status.words:
            told.append(f"  status: {self.status.words}")
        told.append(f"  agent: {self.agent or 'none that these settings know'}")
        for finding in self.findings:
            lines = finding.lines(is_hopeless=self.is_hopeless)
            is_new = finding.change is not None or lines[-1] not in told  # each advice only once
            told += lines if is_new else lines[:-1]
        return [*told, *self._route_lines(), *self._own_lines()]

    def _own_lines(self) -> list[str]:
        if self.own is None:
            return []
        told = ["  a route with modes: [autonomous] would take it, as the agent's own token"]
        changes = [change for _, change in self.own.needed if change is not None]
        return told + [line for change in changes for line in change_lines(change)]

    def _route_lines(self) -> list[str]:
        """Say on which routes it counts, and name the faults on the other routes."""
        known = {(f.fault.reason, f.fault.detail) for f in self.findings}
        told = []
        for verdict in self.routes:
            faults = [fault for fault, _ in verdict.mended.needed]
            others = [f for f in faults if (f.reason, f.detail) not in known]
            if verdict.counts and self._is_verified:
                told.append(f"  {verdict.name}: counts, as {verdict.mode}")
            elif others:
                words = "; ".join(f"{f.reason.code}: {f.detail}" for f in others)
                told.append(f"  {verdict.name}: {words}")
            elif verdict.mode and not self.is_hopeless:
                told.append(f"  {verdict.name}: would count then, as {verdict.mode}")
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
            "status": self.status.words or None,
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
    """Check the token as one of this issuer's; ``begun`` has the earlier findings."""
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
        claims=members,
    )
    faults = collect(lambda: revocations.check(asked.caller(issuer), delegation, ()))
    return replace(mended, needed=(*mended.needed, *((fault, None) for fault in faults)))


def _time(value: object) -> float:
    """Return a time in unix seconds; 0.0 for an invalid time, which is before any revocation."""
    is_time = isinstance(value, int | float) and 0 <= value < MAX_NUMERIC_DATE
    return float(value) if is_time and isinstance(value, int | float) else 0.0
