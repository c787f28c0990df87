"""Compiles a config into the steps that decide, for ``authz serve`` and ``authz explain``."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from secrets import token_bytes
from typing import Final

from authz.adapters.assertions import assertion_header
from authz.adapters.audit.records.redaction import Redaction
from authz.adapters.keys.fetcher import KeySourceConfig
from authz.adapters.keys.store import KeyStore
from authz.adapters.pdp.client import PdpResult
from authz.config import Config
from authz.core.approval import DETAILS
from authz.core.authorizer import Authorizer, RevocationCheck
from authz.core.bounded_map import Unchanging
from authz.core.delegation.credential import token_reads
from authz.core.delegation.dpop import DpopVerifier, FixedSecret, NonceSecret
from authz.core.delegation.opaque import AnswerLookup, NoAnswers
from authz.core.delegation.status_list import NoStatusLists, StatusListLookup
from authz.core.delegation.terms import OWN_CLAIMS
from authz.core.delegation.token_cache import DelegationCache, DelegationStep
from authz.core.delegation.verifier import DelegationVerifier
from authz.core.identity.authenticator import AgentAuthenticator
from authz.core.known_callers import KnownCallers
from authz.core.policy.approved import EXPIRES
from authz.core.policy.policy import Policy
from authz.core.policy.shadow import PolicyStep
from authz.core.reads import Reads
from authz.core.request import DPOP
from authz.core.routes import Routes
from authz.core.upstream_token import FORWARDED, STRIPPED
from authz.edge.header_reader import Prefixes
from authz.edge.header_settings import owned_headers
from authz.edge.inputs import MessageInputs, RequestInputs
from authz.edge.rendering import Renderer
from authz.edge.response import Responder
from authz.edge.snapshot import Snapshot
from authz.wiring.asked import build_decision_point
from authz.wiring.files import MIN_SECRET_BYTES, read_nonce_secret
from authz.wiring.policy import build_policy, build_policy_step
from authz.wiring.policy_version import compute_policy_version
from authz.wiring.upstreams import UpstreamParts, build_assertions

# Of the memory for tokens: known callers hold the same texts, but no claims.
PART_OF_CALLERS: Final = 4


_NO_UPSTREAMS: Final = UpstreamParts()
_NO_ANSWERS: Final = NoAnswers()
_NO_LISTS: Final = NoStatusLists()


@dataclass(frozen=True, slots=True)
class Lookups:
    """The facts that verifying tokens looks up, and other parts keep.

    Attributes:
        keys: the issuers' keys.
        answers: the issuers' answers about opaque tokens; left out, no issuer is asked.
        lists: the issuers' status lists; left out, there are none.
        nonces: the secret of DPoP nonces where the config names no file with one; left out, it is
            random.
    """

    keys: KeyStore
    answers: AnswerLookup = _NO_ANSWERS
    lists: StatusListLookup = _NO_LISTS
    nonces: NonceSecret | None = None


def build_key_sources(config: Config) -> dict[str, KeySourceConfig]:
    """Return the source of each issuer's keys, by issuer."""
    return {
        issuer.issuer: KeySourceConfig(issuer.keys, frozenset(issuer.algorithms))
        for issuer in config.issuers
        if issuer.keys is not None  # an issuer of opaque tokens alone
    }


def build_delegations(
    config: Config, facts: Lookups, unread: frozenset[str] = frozenset()
) -> DelegationVerifier:
    """Build step 2, which verifies tokens. Raises BuildError.

    ``unread`` are those of the tokens' ``OWN_CLAIMS`` that no later step reads.
    """
    return DelegationVerifier(
        config.token,
        config.issuers,
        facts.keys,
        DpopVerifier(config.token.dpop, read_nonces(config, facts)),
        unread,
        answers=facts.answers,
        lists=facts.lists,
    )


def read_nonces(config: Config, facts: Lookups) -> NonceSecret:
    """Return the secret of DPoP nonces (RFC 9449 section 9). Raises BuildError."""
    own = read_nonce_secret(config.token.dpop)
    if own is not None:
        return FixedSecret(own)
    return facts.nonces or FixedSecret(token_bytes(MIN_SECRET_BYTES))


def build_authorizer(
    config: Config,
    delegations: DelegationStep,
    revocations: RevocationCheck,
    policy: PolicyStep | None = None,
    callers: KnownCallers | None = None,
) -> Authorizer:
    """Build the pipeline; compiles the config's policy unless ``policy`` is given.

    Without ``callers`` it caches no callers.
    """
    return Authorizer(
        Routes(config.routes),
        AgentAuthenticator(config.trust_domains, config.profiles),
        delegations,
        revocations,
        policy or build_policy(config),
        callers=callers or KnownCallers(Unchanging(), entries=0, max_bytes=0),
        upstream=FORWARDED if config.token.forward else STRIPPED,
        earlier_revoked=config.earlier_actors.suspended,
    )


def build_snapshot(
    config: Config,
    facts: Lookups,
    revocations: RevocationCheck,
    count_pdp: Callable[[PdpResult, float | None], None] = lambda *_: None,
    candidate: Config | None = None,
    *,
    redaction: Redaction | None = None,
    upstreams: UpstreamParts = _NO_UPSTREAMS,
) -> Snapshot:
    """Compile a version of the settings, and the candidate's rules. Raises BuildError.

    ``redaction`` is that of the audit log, which stays as it was at the start; ``upstreams`` make
    what upstreams get in place of the client's token.
    """
    cache, token = config.cache, config.token
    policy = build_policy(config)
    policies = [policy] if candidate is None else [policy, build_policy(candidate)]
    step = build_policy_step(config, *policies)
    reads = build_reads(config, policies)
    verifier = build_delegations(config, facts, OWN_CLAIMS - reads.claims)
    of_callers = cache.max_bytes // PART_OF_CALLERS
    delegations = DelegationCache(
        verifier, facts.keys, entries=cache.tokens, max_bytes=cache.max_bytes - of_callers
    )
    callers = KnownCallers(facts.keys, entries=cache.tokens, max_bytes=of_callers)
    authorizer = build_authorizer(config, delegations, revocations, step, callers)
    responder = Responder(
        config.headers,
        (token.header,),
        token.dpop.algorithms,
        tuple(sorted(policy.added_headers)),
        assertion_header(config.assertions, config.headers.prefix),
    )
    version = compute_policy_version(config)
    # Approvals hold arguments of calls, which records never do; exp is read for their uses alone.
    unrecorded = {DETAILS, EXPIRES} if policy.uses_approvals else {DETAILS}
    return Snapshot(
        authorizer=authorizer,
        inputs=build_inputs(config, policies, authorizer.routes),
        renderer=Renderer(responder, version, reads.claims - unrecorded, redaction),
        cache_settings=cache,
        policy_version=version,
        is_shadow=config.shadow,
        recorded_headers=reads.recorded,
        credential_headers=reads.credentials,
        decision_point=build_decision_point(config, count_pdp),
        has_single_uses=any(issuer.one_time for issuer in config.issuers) or policy.uses_approvals,
        assertions=build_assertions(config, upstreams),
        exchanges=upstreams.exchanges,
    )


def build_reads(config: Config, policies: Iterable[Policy]) -> Reads:
    """Return the inputs that decisions by these policies read, as each step declares them."""
    identity = AgentAuthenticator(config.trust_domains, config.profiles)
    return Reads.union(
        (identity.reads, token_reads(config.token), *(policy.reads for policy in policies))
    )


def build_inputs(
    config: Config, policies: Sequence[Policy], routes: Routes | None = None
) -> RequestInputs:
    """Build the reader of the inputs that decisions by these policies read, and of nothing else.

    The first policy is in force. A header that no policy reads must not be part of a cache key.
    With the pipeline's ``routes``, the reader and the pipeline read each target once.
    """
    reads = build_reads(config, policies)
    prefix, listed = config.headers.prefix, config.headers.removed_names
    assertion = assertion_header(config.assertions, prefix)
    owned = owned_headers(prefix).union(filter(None, [assertion]))
    return RequestInputs(
        reads.all_headers,
        tuple(sorted(reads.namespaces)),
        _build_message_reader(config, policies, routes or Routes(config.routes)),
        owned.union(listed, *(policy.added_headers for policy in policies)),
        # The answers themselves set or remove these. Only the policy in force adds headers.
        Prefixes(
            config.headers.removed_prefixes,
            owned.union(listed, policies[0].added_headers, (config.token.header, DPOP)),
        ),
    )


def _build_message_reader(
    config: Config, policies: Sequence[Policy], routes: Routes
) -> MessageInputs | None:
    if not routes.has_protocols:
        return None
    return MessageInputs(
        routes,
        AgentAuthenticator(config.trust_domains, config.profiles).profile_of,
        lambda call: any(policy.reads_arguments(call) for policy in policies),
    )
