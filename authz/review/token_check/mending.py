"""Finds the lines of config that would accept a token, by trying them with the core's own checks.

This module knows no rules: a line is shown if it removes the refusal. It is never wider than the
token: it names the token's own type, algorithm, audience and actor, and no others.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from authz.core.decision import Mode
from authz.core.delegation import IssuerSettings
from authz.core.delegation.examination import Examination, examine
from authz.core.reason import Denied, Reason
from authz.core.routes import Route
from authz.review.token_check.asked import Asked
from authz.review.token_check.candidates import candidates
from authz.review.token_check.changes import Change, changed

_MAX_ROUNDS: Final = 12  # more than the kinds of changes, of which each is made once


@dataclass(frozen=True, slots=True)
class Mended:
    """What a token needs on a route.

    Attributes:
        needed: each refusal with the lines that accept the token; None if no line does.
        issuer: the settings with all of these lines.
        mode: how the agent acts with them; None if that is not known.
    """

    needed: tuple[tuple[Denied, Change | None], ...]
    issuer: IssuerSettings
    mode: Mode | None

    @property
    def left(self) -> tuple[Denied, ...]:
        """The refusals that no line removes."""
        return tuple(fault for fault, change in self.needed if change is None)


def look(asked: Asked, issuer: IssuerSettings, route: Route) -> Examination:
    """Examine the token by an issuer's settings."""
    return examine(asked.jws, issuer, asked.caller(issuer), route, asked.now)


def mend(asked: Asked, issuer: IssuerSettings, route: Route) -> Mended:
    """Find the lines that a token needs, including those that only show after other changes."""
    needed: list[tuple[Denied, Change | None]] = []
    seen = look(asked, issuer, route)
    for _ in range(_MAX_ROUNDS):
        found = next(_steps(asked, issuer, route, seen), None)
        if found is None:
            break
        fault, change, issuer = found
        needed.append((fault, change))
        seen = look(asked, issuer, route)
    needed += [(fault, None) for fault in seen.faults]
    return Mended(tuple(needed), issuer, seen.mode)


def _steps(
    asked: Asked, issuer: IssuerSettings, route: Route, seen: Examination
) -> Iterator[tuple[Denied, Change, IssuerSettings]]:
    """Yield changes that remove a refusal, and the settings with each."""
    for fault in seen.faults:
        for change in candidates(asked, issuer, fault):
            tried = changed(issuer, change)
            if tried is None:
                continue
            after = {_key(one) for one in look(asked, tried, route).faults}
            if _key(fault) not in after:
                yield fault, change, tried


def _key(fault: Denied) -> tuple[Reason, str]:
    return fault.reason, fault.detail
