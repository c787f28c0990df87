"""All that one version of the settings decides by, and the memory of what it decided."""

from dataclasses import dataclass, field
from typing import Protocol

from authz.adapters.pdp import PdpStatus
from authz.core.authorizer import Authorizer
from authz.core.decision import Allow
from authz.core.request import Operation
from authz.edge.cache import CacheSettings, CacheStatus, DecisionCache
from authz.edge.inputs import RequestInputs
from authz.edge.rendering import Renderer


class DecisionPoint(Protocol):
    """An external decision point that must also allow."""

    def status(self) -> PdpStatus:
        """Return how it is doing."""

    def confirm(
        self, allow: Allow, operation: Operation, decision_id: str, *, now: float, seconds: float
    ) -> Allow:
        """Return the allow, perhaps for less long, within so many seconds. Raises Denied."""


@dataclass(frozen=True, slots=True)
class SnapshotStatus:
    """What decides, and how it is doing.

    Attributes:
        policy_version: the version in force.
        is_shadow: whether what the rules refuse is allowed.
        cache: how full the memory of decisions is.
        decision_point: how it is doing, None where the config names none.
    """

    policy_version: str
    is_shadow: bool
    cache: CacheStatus
    decision_point: PdpStatus | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One version of the settings, compiled: swapped as a whole, never changed."""

    authorizer: Authorizer
    inputs: RequestInputs
    renderer: Renderer
    cache_settings: CacheSettings
    policy_version: str
    is_shadow: bool = False
    recorded_headers: frozenset[str] = frozenset()
    credential_headers: frozenset[str] = frozenset()
    decision_point: DecisionPoint | None = None
    cache: DecisionCache = field(init=False)

    def __post_init__(self) -> None:
        """Begin with an empty cache: decisions of another version are not ours."""
        object.__setattr__(self, "cache", DecisionCache(self.cache_settings))

    def status(self) -> SnapshotStatus:
        """Return how it is doing."""
        point = self.decision_point
        point_status = None if point is None else point.status()
        return SnapshotStatus(
            self.policy_version, self.is_shadow, self.cache.status(), point_status
        )
