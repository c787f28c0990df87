"""All that one version of the settings decides by, and the memory of what it decided."""

from dataclasses import dataclass, field
from typing import Protocol

from authz.core.authorizer import Authorizer
from authz.core.decision import Allow
from authz.core.request import Operation
from authz.edge.cache import CacheSettings, DecisionCache
from authz.edge.inputs import RequestInputs
from authz.edge.rendering import Renderer


class DecisionPoint(Protocol):
    """An external decision point that must also allow."""

    @property
    def is_cut_off(self) -> bool:
        """Tell whether it is not asked, because it failed."""

    def confirm(
        self, allow: Allow, operation: Operation, decision_id: str, *, now: float, seconds: float
    ) -> Allow:
        """Return the allow, perhaps for less long, within so many seconds. Raises Denied."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One version of the settings, compiled: swapped as a whole, never changed."""

    authorizer: Authorizer
    inputs: RequestInputs
    renderer: Renderer
    cache_settings: CacheSettings
    policy_version: str
    recorded_headers: frozenset[str] = frozenset()
    credential_headers: frozenset[str] = frozenset()
    decision_point: DecisionPoint | None = None
    cache: DecisionCache = field(init=False)

    def __post_init__(self) -> None:
        """Begin with an empty cache: decisions of another version are not ours."""
        object.__setattr__(self, "cache", DecisionCache(self.cache_settings))
