"""Compiles a config into the steps that decide, for ``authz serve`` and ``authz explain``."""

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from authz.adapters.files import read_at_rest
from authz.adapters.introspection import (
    Credential,
    CredentialError,
    IntrospectionClient,
    Introspections,
)
from authz.adapters.keys.fetcher import KeySourceConfig
from authz.adapters.keys.store import KeyStore
from authz.adapters.pdp.client import AuthzenClient, PdpError, PdpResult
from authz.adapters.revocation_file.watched import RevocationFile
from authz.config import Config
from authz.core.authorizer import Authorizer, RevocationCheck
from authz.core.bounded_map import Unchanging
from authz.core.delegation import DpopSettings, IssuerSettings
from authz.core.delegation.credential import token_reads
from authz.core.delegation.dpop import DpopVerifier
from authz.core.delegation.opaque import AnswerLookup, NoAnswers
from authz.core.delegation.terms import OWN_CLAIMS
from authz.core.delegation.token_cache import DelegationCache, DelegationStep
from authz.core.delegation.verifier import DelegationVerifier
from authz.core.identity.authenticator import AgentAuthenticator
from authz.core.known_callers import KnownCallers
from authz.core.policy.policy import Policy
from authz.core.policy.shadow import PolicyStep, PolicyWithCandidate, ShadowedPolicy
from authz.core.reads import Reads
from authz.core.revocations import RevocationError
from authz.core.routes import Routes
from authz.edge.identity_headers import owned_headers
from authz.edge.inputs import MessageInputs, RequestInputs
from authz.edge.rendering import Renderer
from authz.edge.response import Responder
from authz.edge.snapshot import Snapshot
from authz.wiring.policy_version import compute_policy_version

MIN_SECRET_BYTES: Final = 32  # as long as the HMAC's digest (RFC 2104 section 3)
PART_OF_CALLERS: Final = 4  # of the memory for tokens: they hold the same texts, and no claims
MAX_SECRET_BYTES: Final = 64 * 1024  # a longer file is surely another one


_NO_ANSWERS: Final = NoAnswers()


class BuildError(Exception):
    """A file that the config names can't be used; the message is for the operator."""


def build_key_sources(config: Config) -> dict[str, KeySourceConfig]:
    """Return the source of each issuer's keys, by issuer."""
    return {
        issuer.issuer: KeySourceConfig(issuer.keys, frozenset(issuer.algorithms))
        for issuer in config.issuers
        if issuer.keys is not None  # one of opaque tokens alone
    }


def build_delegations(
    config: Config,
    keys: KeyStore,
    unread: frozenset[str] = frozenset(),
    answers: AnswerLookup = _NO_ANSWERS,
) -> DelegationVerifier:
    """Build step 2, which verifies tokens. Raises BuildError.

    ``unread`` are those of the tokens' ``OWN_CLAIMS`` that nothing reads of a delegation's claims.
    ``answers`` has what issuers said about opaque tokens; left out, nobody is asked.
    """
    dpop = config.token.dpop
    proofs = DpopVerifier(dpop, read_nonce_secret(dpop))
    return DelegationVerifier(config.token, config.issuers, keys, proofs, unread, answers=answers)


def read_introspection_credential(issuer: IssuerSettings) -> Credential | None:
    """Read the credential for an issuer's introspection endpoint. Raises BuildError."""
    if issuer.introspection is None:
        return None
    try:
        return Credential.read(issuer.introspection, issuer.issuer)
    except CredentialError as error:
        raise BuildError(str(error)) from None


def prepare_introspections(
    introspections: Introspections, config: Config
) -> Mapping[str, IntrospectionClient]:
    """Return the clients of a config's introspection endpoints. Raises BuildError."""
    try:
        return introspections.prepare(config.issuers)
    except CredentialError as error:
        raise BuildError(str(error)) from None


def read_nonce_secret(settings: DpopSettings) -> bytes:
    """Return the secret of DPoP nonces (RFC 9449 section 9), by default a random one.

    Raises BuildError.
    """
    if settings.nonce_secret is None:
        return secrets.token_bytes(MIN_SECRET_BYTES)
    try:
        secret = read_at_rest(settings.nonce_secret, MAX_SECRET_BYTES)
    except OSError as error:
        raise BuildError(f"token.dpop.nonce_secret can't be read: {error.strerror}") from None
    if len(secret) < MIN_SECRET_BYTES:
        raise BuildError(f"token.dpop.nonce_secret has less than {MIN_SECRET_BYTES} bytes")
    if len(secret) > MAX_SECRET_BYTES:
        raise BuildError(f"token.dpop.nonce_secret has more than {MAX_SECRET_BYTES} bytes")
    return secret


def read_revocations(config: Config) -> RevocationFile:
    """Read the revocation file once; the caller refreshes it. Raises BuildError."""
    try:
        return RevocationFile(config.revocations)
    except RevocationError as error:
        raise BuildError(f"revocations.file: {error}") from None


def build_decision_point(
    config: Config, count: Callable[[PdpResult, float | None], None] = lambda *_: None
) -> AuthzenClient | None:
    """Build the client of the external decision point, None if ``pdp`` is not set.

    ``count`` is called with the result of each question, and its seconds if it was sent. Raises
    BuildError.
    """
    try:
        return AuthzenClient(config.pdp, count) if config.pdp else None
    except PdpError as error:
        raise BuildError(f"pdp.{error}") from None


def build_policy(config: Config) -> Policy:
    """Compile a config's rules."""
    return Policy(
        config.agents,
        config.principals,
        config.grants,
        config.earlier_actors,
        config.conditions,
    )


def build_policy_step(
    config: Config, policy: PolicyStep, candidate: Policy | None = None
) -> PolicyStep:
    """Build step 3 of a policy: in shadow if the config says so, beside a candidate if given."""
    step = ShadowedPolicy(policy) if config.shadow else policy
    return step if candidate is None else PolicyWithCandidate(step, candidate)


def build_authorizer(
    config: Config,
    delegations: DelegationStep,
    revocations: RevocationCheck,
    policy: PolicyStep | None = None,
    callers: KnownCallers | None = None,
) -> Authorizer:
    """Build the pipeline; compiles the config's policy unless ``policy`` is given.

    Without ``callers`` it remembers nobody.
    """
    return Authorizer(
        Routes(config.routes),
        AgentAuthenticator(config.trust_domains, config.profiles),
        delegations,
        revocations,
        policy or build_policy(config),
        callers=callers or KnownCallers(Unchanging(), entries=0, max_bytes=0),
    )


def build_snapshot(
    config: Config,
    keys: KeyStore,
    revocations: RevocationCheck,
    count_pdp: Callable[[PdpResult, float | None], None] = lambda *_: None,
    candidate: Config | None = None,
    *,
    answers: AnswerLookup = _NO_ANSWERS,
) -> Snapshot:
    """Compile a version of the settings, and the candidate's rules. Raises BuildError."""
    cache, token = config.cache, config.token
    policy = build_policy(config)
    policies = [policy] if candidate is None else [policy, build_policy(candidate)]
    step = build_policy_step(config, *policies)
    reads = build_reads(config, policies)
    verifier = build_delegations(config, keys, OWN_CLAIMS - reads.claims, answers)
    of_callers = cache.max_bytes // PART_OF_CALLERS
    delegations = DelegationCache(
        verifier, keys, entries=cache.tokens, max_bytes=cache.max_bytes - of_callers
    )
    callers = KnownCallers(keys, entries=cache.tokens, max_bytes=of_callers)
    authorizer = build_authorizer(config, delegations, revocations, step, callers)
    responder = Responder(
        config.headers,
        () if token.forward else (token.header,),
        token.dpop.algorithms,
        tuple(sorted(policy.added_headers)),
    )
    version = compute_policy_version(config)
    return Snapshot(
        authorizer=authorizer,
        inputs=build_inputs(config, policies, authorizer.routes),
        renderer=Renderer(responder, version, reads.claims),
        cache_settings=cache,
        policy_version=version,
        is_shadow=config.shadow,
        recorded_headers=reads.recorded,
        credential_headers=reads.credentials,
        decision_point=build_decision_point(config, count_pdp),
    )


def build_reads(config: Config, policies: Iterable[Policy]) -> Reads:
    """Return what decisions by these policies read, as each step of the pipeline declares it."""
    identity = AgentAuthenticator(config.trust_domains, config.profiles)
    return Reads.union(
        (identity.reads, token_reads(config.token), *(policy.reads for policy in policies))
    )


def build_inputs(
    config: Config, policies: Sequence[Policy], routes: Routes | None = None
) -> RequestInputs:
    """Build the reader of what decisions by these policies read, and of nothing else.

    A header that no policy reads must not be part of a cache key. With the pipeline's ``routes``,
    the reader and the pipeline read each target once.
    """
    reads = build_reads(config, policies)
    return RequestInputs(
        reads.all_headers,
        tuple(sorted(reads.namespaces)),
        _build_message_reader(config, policies, routes or Routes(config.routes)),
        owned_headers(config.headers.prefix).union(*(policy.added_headers for policy in policies)),
    )


def _build_message_reader(
    config: Config, policies: Sequence[Policy], routes: Routes
) -> MessageInputs | None:
    if not routes.has_protocols:
        return None
    return MessageInputs(
        routes,
        AgentAuthenticator(config.trust_domains, config.profiles).mcp_metadata,
        lambda call: any(policy.reads_arguments(call) for policy in policies),
    )
