"""Opens the parts of the token service: those of a server that decide, and what signs.

Nothing runs before ``start``: until then there is no thread, no socket and no open file.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Any

from authz.adapters.audit.log import AuditLog
from authz.adapters.consents.sources import ConsentSources
from authz.adapters.introspection import Introspections
from authz.adapters.keys.folder import KeyFolder
from authz.adapters.keys.store import KeyStore
from authz.adapters.metrics import Metrics
from authz.adapters.signing.private_key import SigningKeyError
from authz.adapters.signing.signer import Signer
from authz.adapters.status_lists import StatusLists
from authz.adapters.sts.limits import IN_FLIGHT, THREADS
from authz.adapters.sts.own_keys import OwnKeys
from authz.adapters.sts_settings import StsSettings
from authz.adapters.tls import ServerTls, TlsError
from authz.adapters.tls_settings import TlsSettings
from authz.config import Config
from authz.core.delegation.dpop import DpopVerifier
from authz.core.needs import IntrospectionNeeded, KeyNeeded, Need, StatusListNeeded
from authz.core.sts.service import TokenService
from authz.core.sts.settings import ConsentNeed
from authz.edge.bulkhead import Bulkhead
from authz.edge.check_pool import CheckPool
from authz.edge.clock import Clock
from authz.edge.issuing import IssuingParts, IssuingSnapshot, TokenIssuing
from authz.edge.learning import (
    IntrospectionLearner,
    KeyLearner,
    Learner,
    StatusListLearner,
)
from authz.edge.token_records import TokenRecords
from authz.transports.clients import ClientAuthenticator
from authz.wiring.asked import prepare_introspections
from authz.wiring.consents import open_consents
from authz.wiring.files import BuildError, read_redaction
from authz.wiring.policy import build_policy
from authz.wiring.policy_version import compute_policy_version
from authz.wiring.shared import SharedState, open_shared
from authz.wiring.snapshot import Lookups, build_key_sources, read_nonces
from authz.wiring.sts_audit import open_sts_audit


@dataclass(frozen=True, slots=True, kw_only=True)
class StsParts:
    """The parts that answer token requests; the HTTP server is not among them.

    Attributes:
        settings: those of the config's ``sts`` at the start.
        audit, keys, introspections, status_lists, shared, metrics, pool, bulkhead: as ``Parts``.
        tls: our certificate, and the CAs of agents.
        signer: signs tokens.
        own_keys: the keys of all issuers, our own among them.
        consents: what principals have consented to.
        check: tells which agent a certificate proves.
        issuing: answers requests by the config in force.
    """

    settings: StsSettings
    audit: AuditLog
    keys: KeyStore
    introspections: Introspections
    status_lists: StatusLists
    shared: SharedState
    metrics: Metrics
    pool: CheckPool
    bulkhead: Bulkhead
    tls: ServerTls
    signer: Signer
    own_keys: OwnKeys
    consents: ConsentSources
    check: ClientAuthenticator
    issuing: TokenIssuing

    def look_at_keys(self) -> bool:
        """Check the files of signing keys; return True while one is being written."""
        return self.signer.look()

    def start(self) -> None:
        """Start every part. Raises RevocationError, AuditError, KeyStoreError."""
        self.shared.start()
        self.audit.start()
        self.keys.start()
        self.status_lists.start()
        self.tls.start()
        self.pool.start()

    def reconfigure(self, config: Config) -> str:
        """Put another config into force, all or nothing; return the version of its policy.

        Raises BuildError, KeyStoreError: then nothing has changed.
        """
        settings = sts_settings(config)
        snapshot = _snapshot(config, self)
        clients = prepare_introspections(self.introspections, config)
        try:
            plan = self.signer.plan(settings, settings.lifetime)
        except SigningKeyError as error:
            raise BuildError(f"sts: {error}") from None
        self.keys.reconfigure(_key_sources(config))  # all of them or none
        self.introspections.reconfigure(clients)
        self.status_lists.reconfigure(config.issuers)
        self.shared.reconfigure(config)
        self.signer.take(plan)
        self.check.reconfigure(agent_domains(config))
        self.issuing.snapshot = snapshot
        return snapshot.records.policy_version


def sts_settings(config: Config) -> StsSettings:
    """Return the settings of the token service. Raises BuildError without any."""
    if config.sts is None:
        raise BuildError("the config has no section sts: it says how tokens are made, and for whom")
    return config.sts


def agent_domains(config: Config) -> tuple[str, ...]:
    """Return the trust domains for whose agents the clients' CAs may vouch. Raises BuildError."""
    return sts_settings(config).tls.trust_domains or config.trust_domains


@contextmanager
def open_sts(config: Config, clock: Clock = Clock()) -> Iterator[StsParts]:  # noqa: B008 - frozen
    """Open the parts of a config, and close them in reverse, also if a later one can't be opened.

    Raises BuildError, TlsError.
    """
    settings, metrics = sts_settings(config), Metrics()
    with ExitStack() as opened:
        # Opened first, and so closed last: until then other parts may leave records.
        audit = opened.enter_context(closing(open_sts_audit(config.audit)))
        signer = _open_signer(settings)
        keys = opened.enter_context(
            closing(KeyStore(_key_sources(config), KeyFolder(config.key_cache)))
        )
        tls = opened.enter_context(closing(read_sts_tls(settings)))
        shared = opened.enter_context(open_shared(config))
        pool = opened.enter_context(closing(CheckPool(THREADS, IN_FLIGHT)))
        bulkhead = Bulkhead(IN_FLIGHT // 2, pool.lend)
        introspections = Introspections(keys, metrics.introspected, clock.wall, clock.monotonic)
        introspections.reconfigure(prepare_introspections(introspections, config))
        lists = StatusLists(
            keys, keys.outdate, metrics.status_list_fetched, clock.wall, clock.monotonic
        )
        lists.reconfigure(config.issuers)
        opened.enter_context(closing(lists))
        own_keys = OwnKeys(settings.issuer, signer.jwks, keys)
        facts = Lookups(keys, introspections, lists, shared.nonces)
        consents = open_consents(config, shared.store)
        works_with = IssuingParts(
            signer=signer,
            learners=_learners(keys, introspections, lists),
            single_uses=shared.single_uses,
            consents=consents,
            bulkhead=bulkhead,
            audit=audit,
            generation=lambda: keys.generation + shared.revocations.generation,
            clock=clock,
        )
        snapshot = build_issuing(config, own_keys, facts, shared, consents)
        yield StsParts(
            settings=settings,
            audit=audit,
            keys=keys,
            introspections=introspections,
            status_lists=lists,
            shared=shared,
            metrics=metrics,
            pool=pool,
            bulkhead=bulkhead,
            tls=tls,
            signer=signer,
            own_keys=own_keys,
            consents=consents,
            check=ClientAuthenticator(tls, agent_domains(config), clock.wall),
            issuing=TokenIssuing(snapshot, works_with),
        )


def _snapshot(config: Config, parts: StsParts) -> IssuingSnapshot:
    facts = Lookups(parts.keys, parts.introspections, parts.status_lists, parts.shared.nonces)
    return build_issuing(config, parts.own_keys, facts, parts.shared, parts.consents)


def build_issuing(
    config: Config,
    own_keys: OwnKeys,
    facts: Lookups,
    shared: SharedState,
    consents: ConsentSources,
) -> IssuingSnapshot:
    """Compile a version of the settings. Raises BuildError."""
    settings = sts_settings(config)
    service = TokenService(
        settings,
        config.token,
        config.issuers,
        build_policy(config),
        keys=own_keys,
        revocations=shared.revocations,
        proofs=DpopVerifier(config.token.dpop, read_nonces(config, facts)),
        consents=consents,
        answers=facts.answers,
        lists=facts.lists,
    )
    return IssuingSnapshot(
        service,
        TokenRecords(
            settings.token_endpoint,
            compute_policy_version(config),
            read_redaction(config.audit.redact),
        ),
        needs_consents=any(
            rule.consent is ConsentNeed.REQUIRED or rule.authorization_details
            for rule in settings.rules
        ),
    )


def _learners(
    keys: KeyStore, introspections: Introspections, lists: StatusLists
) -> Mapping[type[Need], Learner[Any]]:
    return {
        KeyNeeded: KeyLearner(keys),
        IntrospectionNeeded: IntrospectionLearner(introspections),
        StatusListNeeded: StatusListLearner(lists),
    }


def _key_sources(config: Config) -> dict[str, Any]:
    """Return the sources of other issuers' keys: our own are not fetched from ourselves."""
    sources = build_key_sources(config)
    sources.pop(sts_settings(config).issuer, None)
    return sources


def _open_signer(settings: StsSettings) -> Signer:
    try:
        return Signer(settings, settings.lifetime)
    except SigningKeyError as error:
        raise BuildError(f"sts: {error}") from None


def read_sts_tls(settings: StsSettings) -> ServerTls:
    """Read the certificate of the token service and the agents' CAs. Raises BuildError."""
    files = TlsSettings.model_construct(
        certificate=settings.tls.certificate,
        private_key=settings.tls.private_key,
        client_ca=settings.tls.client_ca,
        allowed_callers=(),
    )
    try:
        return ServerTls(files, "sts.tls")
    except TlsError as error:
        raise BuildError(error.of("sts.tls")) from None
