"""Collects the metrics of the token service at each scrape."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from authz.adapters.metrics import counter, gauge
from authz.adapters.sts.server import StsServer
from authz.server.json_log import ProcessLog
from authz.server.liveness import Liveness
from authz.server.reload import ConfigReload
from authz.server.status_families import (
    audit_families,
    introspection_families,
    key_families,
    process_families,
    reload_families,
    revocation_families,
    signing_families,
    single_use_families,
    status_list_families,
    store_families,
    tls_families,
)
from authz.wiring.sts import StsParts

# Of the counts that a server keeps, those of parts that the token service has too.
_COUNTED: Final = ("authz_introspection_", "authz_status_list_")


@dataclass(frozen=True, slots=True, eq=False)  # a registry keeps it by its hash
class StsMetrics(Collector):
    """The metrics of a token service's process.

    Attributes:
        registry: the registry that answers a scrape.
    """

    parts: StsParts
    server: StsServer
    reload: ConfigReload
    liveness: Liveness
    registry: CollectorRegistry

    def collect(self) -> Iterator[Metric]:
        """Yield every family, in Prometheus' form."""
        parts = self.parts
        yield from (
            family for family in parts.metrics.families() if family.name.startswith(_COUNTED)
        )
        yield from key_families(parts.keys.status())
        yield from introspection_families(parts.introspections.status())
        yield from single_use_families(parts.shared.single_uses.status())
        yield from status_list_families(parts.status_lists.status())
        yield from revocation_families(parts.shared.revocations.status())
        yield from store_families(parts.shared.store.status())
        yield from audit_families(parts.audit.status())
        yield from tls_families(parts.tls.status())
        yield from signing_families(parts.signer.status())
        yield from reload_families(self.reload.status())
        yield from process_families(self.liveness.status(), ProcessLog().status())
        yield from self._of_service()

    def _of_service(self) -> Iterator[Metric]:
        status, counts = self.server.status(), self.parts.issuing.counts()
        yield counter("authz_sts_requests", *(((code,), n) for code, n in counts.items()))
        yield counter(
            "authz_sts_answers",
            *(((str(code),), n) for code, n in sorted(status.statuses.items())),
        )
        consents = self.parts.consents.status()
        yield gauge("authz_sts_consents", *(((s.source,), s.consents) for s in consents))
        yield gauge("authz_sts_consents_invalid", *(((s.source,), s.invalid) for s in consents))
        yield gauge("authz_sts_running", ((), status.running))
        yield gauge(
            "authz_sts_connections",
            (("handshake",), status.handshakes),
            (("open",), status.connections - status.handshakes),
        )
        yield counter(
            "authz_sts_connections_refused",
            (("handshake",), status.refused),
            (("full",), status.full),
        )


def build_sts_metrics(
    parts: StsParts, server: StsServer, reload: ConfigReload, liveness: Liveness
) -> StsMetrics:
    """Build the metrics of the parts, and of the objects that serve and watch them."""
    metrics = StsMetrics(parts, server, reload, liveness, CollectorRegistry())
    metrics.registry.register(metrics)
    return metrics
