"""One version of the settings, compiled, with the cache of its decisions."""

from dataclasses import dataclass, field
from typing import Protocol

from authz.adapters.pdp.client import PdpStatus
from authz.core.authorizer import Authorizer
from authz.core.decision import Allow
from authz.core.request import Operation, Request
from authz.core.upstream_token import UpstreamCredential
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


class Assertions(Protocol):
    """Signs assertions of decisions. Never waits; many threads may sign at once."""

    def sign(self, allow: Allow, decision_id: str, now: float) -> UpstreamCredential:
        """Return an assertion of this allow, signed now (unix seconds) or shortly before.

        It holds no more than the allow, and ends no later than its delegation and the agent's
        certificate. Raises Denied.
        """

    def keep(self, allow: Allow) -> None:
        """Keep the allow's assertion for later requests, now that no step can refuse any more."""


class Exchanges(Protocol):
    """Exchanges the client's token for one for the upstream. Many threads may ask at once."""

    def remembered(self, allow: Allow, request: Request, now: float) -> UpstreamCredential | None:
        """Return a token that was obtained before and is still good, None without one.

        Returns at once. Raises Denied if the issuer has refused it a moment ago.
        """

    def exchange(
        self, allow: Allow, request: Request, decision_id: str, *, now: float, seconds: float
    ) -> UpstreamCredential:
        """Return a token for the upstream. Waits for ``seconds`` at most.

        Raises Denied(EXCHANGE_REFUSED | EXCHANGE_UNAVAILABLE).
        """


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
        assertions: signs what upstreams get; None without ``assertions`` in the config.
        exchanges: exchanges tokens for upstreams; None if no issuer exchanges any.
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
    assertions: Assertions | None = None
    exchanges: Exchanges | None = None
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
