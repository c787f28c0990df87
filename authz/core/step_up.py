"""Step-up: how and how recently a principal must have authenticated (RFC 9470)."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Final

from authz.core.reads import Reads

ACR, AUTH_TIME = "acr", "auth_time"  # claims of RFC 9068 section 2.2.1
END_OF_SECONDS: Final = (
    10**11
)  # in the year 5138; times in milliseconds are beyond it, and would never be too old


@dataclass(frozen=True, slots=True)
class StepUp:
    """A requirement of one of these ``acr`` values, and of an ``auth_time`` recent enough."""

    acr_values: tuple[str, ...]
    max_age_seconds: float | None

    @property
    def reads(self) -> Reads:
        """The claims that it reads; a part that is not required reads none."""
        acr = [ACR] if self.acr_values else []
        auth_time = [AUTH_TIME] if self.max_age_seconds is not None else []
        return Reads(claims=frozenset([*acr, *auth_time]))

    def good_until(self, claims: Mapping[str, object]) -> float:
        """Return unix seconds until which the authentication is sufficient; -inf if it is not."""
        if self.acr_values and claims.get(ACR) not in self.acr_values:
            return -inf
        if self.max_age_seconds is None:
            return inf
        at = claims.get(AUTH_TIME)
        if not isinstance(at, int | float) or isinstance(at, bool):
            return -inf
        if at >= END_OF_SECONDS:
            return -inf
        return at + self.max_age_seconds

    @property
    def parameters(self) -> tuple[tuple[str, str], ...]:
        """All requirements, for the challenge: a client needs them for its next try (section 3)."""
        asked = [("acr_values", " ".join(self.acr_values))] if self.acr_values else []
        if self.max_age_seconds is not None:
            asked.append(("max_age", str(int(self.max_age_seconds))))
        return tuple(asked)
