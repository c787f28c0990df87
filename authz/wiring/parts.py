"""Opens the parts of a process: the composition root.

Each part is made from those above it. Nothing runs before ``start``: until then there is no
thread, no socket and no open file.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from authz.adapters.audit.chain.key import ChainKeyError
from authz.adapters.audit.identity import WorkerIdentity
from authz.adapters.audit.log import AuditLog
from authz.adapters.exchange import Exchanges
from authz.adapters.introspection import Introspections
from authz.adapters.keys.folder import KeyFolder
from authz.adapters.keys.store import KeyStore
from authz.adapters.metrics import Metrics
from authz.adapters.revocations.sources import RevocationSources
from authz.adapters.status_lists import StatusLists
from authz.adapters.tls import ServerTls
from authz.config import Config
from authz.edge.bulkhead import Bulkhead
from authz.edge.check_pool import CheckPool
from authz.edge.clock import Clock
from authz.edge.service import CheckService, ServiceParts
from authz.wiring.asked import prepare_exchanges, prepare_introspections
from authz.wiring.files import BuildError, read_redaction
from authz.wiring.shared import SharedState, open_shared
from authz.wiring.snapshot import Lookups, build_key_sources, build_snapshot
from authz.wiring.tracing import open_tracer
from authz.wiring.upstreams import AssertionKeys, UpstreamParts

if TYPE_CHECKING:  # an optional extra
    from authz.adapters.tracing.exporter import TraceExporter


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts that answer checks; the transport, which hands checks in, is not among them.

    Attributes:
        audit: writes a record of each decision.
        keys: the issuers' keys, fetched in the background.
        introspections: the issuers' answers about opaque tokens, requested when they are needed.
        exchanges: the tokens that issuers gave for upstreams, requested when they are needed.
        status_lists: the issuers' status lists, fetched when needed, then in the background.
        tls: our certificate, None if proxies connect without TLS.
        shared: what replicas share through the store, or this process has alone.
        metrics: the counts that a scrape reads.
        pool: the threads that answer checks.
        tracer: sends spans of checks; None if the config has no traces.
        bulkhead: caps how many checks wait for issuers and the decision point.
        clock: the time of decisions.
        service: answers checks by the config in force.
        assertion_keys: sign the assertions that upstreams get.
    """

    audit: AuditLog
    keys: KeyStore
    introspections: Introspections
    exchanges: Exchanges
    status_lists: StatusLists
    tls: ServerTls | None
    shared: SharedState
    metrics: Metrics
    pool: CheckPool
    tracer: "TraceExporter | None"
    bulkhead: Bulkhead
    clock: Clock
    service: CheckService
    assertion_keys: AssertionKeys

    def look_at_keys(self) -> bool:
        """Check the files of signing keys; return True while one is being written."""
        return self.assertion_keys.look()

    def start(self) -> None:
        """Start every part. Raises RevocationError, AuditError, KeyStoreError."""
        self.shared.start()
        self.audit.start()
        if self.tracer is not None:
            self.tracer.start()
        self.keys.start()
        self.status_lists.start()
        if self.tls is not None:
            self.tls.start()
        self.pool.start()  # last: no call uses its threads before the transport listens

    def reconfigure(self, config: Config, candidate: Config | None = None) -> str:
        """Put another config's policy and issuers into force, all or nothing.

        Returns the policy's version. Raises BuildError, KeyStoreError: then nothing has changed.
        """
        assertion_keys = self.assertion_keys.prepare(config)
        exchanger = prepare_exchanges(self.exchanges, config)
        snapshot = build_snapshot(
            config,
            Lookups(self.keys, self.introspections, self.status_lists, self.shared.nonces),
            self.shared.revocations,
            self.metrics.pdp_asked,
            candidate,
            redaction=self.service.snapshot.renderer.redaction,
            upstreams=UpstreamParts(assertion_keys.signer, exchanger, self.metrics.assertion_made),
        )
        clients = prepare_introspections(self.introspections, config)
        self.keys.reconfigure(build_key_sources(config))  # all of them or none
        self.introspections.reconfigure(clients)
        self.exchanges.reconfigure(exchanger)
        self.status_lists.reconfigure(config.issuers)
        self.shared.reconfigure(config)
        self.assertion_keys.take(assertion_keys)
        self.service.snapshot = snapshot
        return snapshot.policy_version


@contextmanager
def open_parts(
    config: Config,
    candidate: Config | None = None,
    *,
    clock: Clock = Clock(),  # noqa: B008 - frozen
    keys: KeyStore | None = None,
    revocations: RevocationSources | None = None,
    identity: WorkerIdentity | None = None,
) -> Iterator[Parts]:
    """Open the parts of a config, and close them in reverse, also if a later part can't be opened.

    ``identity`` says which process of the server this is, if there are several. ``keys`` and
    ``revocations`` replace those that the config names, and ``keys`` is not closed here.
    Raises BuildError, TlsError.
    """
    server, metrics = config.server, Metrics()
    with ExitStack() as opened:
        # Opened first, and so closed last: until then other parts may leave records.
        audit = opened.enter_context(closing(_open_audit(config, identity)))
        tracer = opened.enter_context(_open_tracer(config, metrics))
        keys = opened.enter_context(_open_keys(config)) if keys is None else keys
        tls = opened.enter_context(_open_tls(config))
        shared = opened.enter_context(open_shared(config, revocations))
        pool = opened.enter_context(closing(CheckPool(server.threads, server.max_queued)))
        bulkhead = Bulkhead(server.max_waiting, pool.lend)
        introspections = Introspections(keys, metrics.introspected, clock.wall, clock.monotonic)
        introspections.reconfigure(prepare_introspections(introspections, config))
        exchanges = Exchanges(keys, metrics.exchanged, clock.wall, clock.monotonic)
        exchanger = prepare_exchanges(exchanges, config)
        exchanges.reconfigure(exchanger)
        status_lists = opened.enter_context(
            closing(_open_status_lists(config, keys, metrics, clock))
        )
        assertion_keys = AssertionKeys(config, clock.wall)
        # The most expensive part comes last, when the cheap checks have passed.
        snapshot = build_snapshot(
            config,
            Lookups(keys, introspections, status_lists, shared.nonces),
            shared.revocations,
            metrics.pdp_asked,
            candidate,
            redaction=read_redaction(config.audit.redact),
            upstreams=UpstreamParts(assertion_keys.signer, exchanger, metrics.assertion_made),
        )
        works_with = ServiceParts(
            keys=keys,
            introspections=introspections,
            status_lists=status_lists,
            revocations=shared.revocations,
            single_uses=shared.single_uses,
            spender=shared.spender,
            audit=audit,
            metrics=metrics,
            bulkhead=bulkhead,
            is_overloaded=pool.is_overloaded,
            clock=clock,
            tracer=tracer,
        )
        yield Parts(
            audit=audit,
            keys=keys,
            introspections=introspections,
            exchanges=exchanges,
            status_lists=status_lists,
            tls=tls,
            shared=shared,
            metrics=metrics,
            pool=pool,
            tracer=tracer,
            bulkhead=bulkhead,
            clock=clock,
            service=CheckService(snapshot, works_with),
            assertion_keys=assertion_keys,
        )


def _open_audit(config: Config, identity: WorkerIdentity | None) -> AuditLog:
    try:
        return AuditLog(config.audit, identity=identity)
    except ChainKeyError as error:
        raise BuildError(str(error)) from None


def _open_keys(config: Config) -> AbstractContextManager[KeyStore]:
    return closing(KeyStore(build_key_sources(config), KeyFolder(config.key_cache)))


def _open_status_lists(
    config: Config, keys: KeyStore, metrics: Metrics, clock: Clock
) -> StatusLists:
    """Open the status lists. A change of one makes stale what a change of keys does."""
    lists = StatusLists(
        keys, keys.outdate, metrics.status_list_fetched, clock.wall, clock.monotonic
    )
    lists.reconfigure(config.issuers)
    return lists


def _open_tracer(
    config: Config, metrics: Metrics
) -> AbstractContextManager["TraceExporter | None"]:
    """Open the tracer, whose libraries are loaded only here. Raises BuildError."""
    settings = config.traces
    return nullcontext() if settings is None else closing(open_tracer(settings, metrics.exemplify))


def _open_tls(config: Config) -> AbstractContextManager[ServerTls | None]:
    settings = config.server.tls
    return nullcontext() if settings is None else closing(ServerTls(settings))
