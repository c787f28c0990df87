"""One version of the settings, compiled, with the cache of its decisions."""

from dataclasses import dataclass, field
from typing import Protocol

from authz.adapters.pdp.client import PdpStatus
from authz.core.authorizer import Authorizer
from authz.core.decision import Allow
from authz.core.request import Operation
from authz.edge.cache import CacheStatus, DecisionCache
from authz.edge.cache_settings import CacheSettings
from authz.edge.inputs import RequestInputs
from authz.edge.rendering import Renderer


class DecisionPoint(Protocol):
    """An external decision point that must also allow.

    It may shorten an allow or deny it, and never grants more than the given allow. Many threads may
    ask at once.
    """

    def status(self) -> PdpStatus:
        """Return the status of the decision point."""

    def confirm(
        self, allow: Allow, operation: Operation, decision_id: str, *, now: float, seconds: float
    ) -> Allow:
        """Return the allow, perhaps shortened. Waits for ``seconds`` at most. Raises Denied."""


@dataclass(frozen=True, slots=True)
class SnapshotStatus:
    """The version in force and the status of its parts.

    Attributes:
        policy_version: the version in force.
        is_shadow: whether requests that the rules refuse are allowed.
        cache: the size of the cache.
        decision_point: the decision point's status, None where the config has no decision point.
    """

    policy_version: str
    is_shadow: bool
    cache: CacheStatus
    decision_point: PdpStatus | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One version of the settings, compiled: replaced as a whole, never changed.

    Attributes:
        has_single_uses: whether some tokens, or some approvals, are for one request each.
    """

    authorizer: Authorizer
    inputs: RequestInputs
    renderer: Renderer
    cache_settings: CacheSettings
    policy_version: str
    is_shadow: bool = False
    recorded_headers: frozenset[str] = frozenset()
    credential_headers: frozenset[str] = frozenset()
    decision_point: DecisionPoint | None = None
    has_single_uses: bool = False
    cache: DecisionCache = field(init=False)

    def __post_init__(self) -> None:
        """Begin with an empty cache: another version may decide differently."""
        object.__setattr__(self, "cache", DecisionCache(self.cache_settings))

    def status(self) -> SnapshotStatus:
        """Return the version and the status of its parts."""
        point = self.decision_point
        point_status = None if point is None else point.status()
        return SnapshotStatus(
            self.policy_version, self.is_shadow, self.cache.status(), point_status
        )
