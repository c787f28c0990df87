"""A config made into the parts that decide: what ``authz serve`` and ``authz explain`` share."""

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Final

from pydantic import BaseModel
from pydantic_core import to_json

from authz.adapters.files import read_at_rest
from authz.adapters.keys import KeySource, KeyStore
from authz.adapters.pdp import AuthzenPoint, PdpError
from authz.adapters.revocation_file import RevocationList
from authz.config import Config
from authz.core.authorizer import Authorizer, RevocationCheck
from authz.core.delegation import (
    Delegations,
    DelegationStep,
    DpopProofs,
    DpopSettings,
    RememberedDelegations,
    token_reads,
)
from authz.core.identity import Identity
from authz.core.policy import NotEnforced, Policy, PolicyStep, WithCandidate
from authz.core.reads import Reads
from authz.core.revocations import RevocationError
from authz.core.routes import Routes
from authz.edge.envoy import Inputs, Messages, Reader, Writer, owned_headers
from authz.edge.rendering import Renderer
from authz.edge.snapshot import Snapshot

MIN_SECRET_BYTES: Final = 32  # as long as the HMAC's digest (RFC 2104 section 3)
MAX_SECRET_BYTES: Final = 64 * 1024  # what is longer was meant for something else


class BuildError(Exception):
    """A file that the config names can't be used; the message is for the operator."""


def key_sources(config: Config) -> dict[str, KeySource]:
    """Where each issuer's keys come from."""
    return {
        issuer.issuer: KeySource(issuer.keys, frozenset(issuer.algorithms))
        for issuer in config.issuers
    }


def delegations_of(config: Config, keys: KeyStore) -> Delegations:
    """Step 2, with the real thing. Raises BuildError."""
    dpop = config.token.dpop
    proofs = DpopProofs(dpop, nonce_secret_of(dpop))
    return Delegations(config.token, config.issuers, keys, proofs)


def nonce_secret_of(settings: DpopSettings) -> bytes:
    """Return the secret that nonces are made of, a random one by default. Raises BuildError."""
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


def revocations_of(config: Config) -> RevocationList:
    """What was revoked. Raises BuildError."""
    try:
        return RevocationList(config.revocations)
    except RevocationError as error:
        raise BuildError(f"revocations.file: {error}") from None


def decision_point_of(
    config: Config, count: Callable[[str, float | None], None] = lambda *_: None
) -> AuthzenPoint | None:
    """Who has to allow as well, if the config names one. Raises BuildError."""
    try:
        return AuthzenPoint(config.pdp, count) if config.pdp else None
    except PdpError as error:
        raise BuildError(f"pdp.{error}") from None


def policy_of(config: Config) -> Policy:
    """The compiled rules."""
    return Policy(
        config.agents,
        config.principals,
        config.grants,
        config.earlier_actors,
        config.conditions,
    )


def authorizer_of(
    config: Config,
    delegations: DelegationStep,
    revocations: RevocationCheck,
    policy: PolicyStep | None = None,
) -> Authorizer:
    """The pipeline; with a policy that was compiled already, if there is one."""
    return Authorizer(
        Routes(config.routes),
        Identity(config.trust_domains, config.profiles),
        delegations,
        revocations,
        policy or policy_of(config),
    )


# What says nothing of which requests are allowed.
_NOT_POLICY: Final = {
    *("server", "admin", "audit", "include"),
    *("cache", "key_cache", "replay", "revocations"),
}
_VERSION_CHARS: Final = 16  # 64 bits tell apart the versions that one operator will ever write


def version_of(config: Config) -> str:
    """Hash of everything in a config that decisions depend on, for audit, metrics and metadata.

    Of its JSON, made in small pieces: all of 100,000 rules at once would hold up every other thread
    for half a second.
    """
    members = {name: value for name, value in config if name not in _NOT_POLICY}
    whole = sha256()
    for piece in _json_of(members):
        whole.update(piece)
    return whole.hexdigest()[:_VERSION_CHARS]


def _json_of(value: object) -> Iterator[bytes]:
    """Yield the JSON of settings, as their ``model_dump_json`` has it, an item at a time."""
    if isinstance(value, BaseModel):
        yield value.model_dump_json().encode()
    elif isinstance(value, dict):
        yield b"{"
        for at, (key, member) in enumerate(value.items()):
            yield (b"," if at else b"") + to_json(key) + b":"
            yield from _json_of(member)
        yield b"}"
    elif isinstance(value, tuple):
        yield b"["
        for at, item in enumerate(value):
            yield b"," if at else b""
            yield from _json_of(item)
        yield b"]"
    else:
        yield to_json(value)


def snapshot_of(
    config: Config,
    keys: KeyStore,
    revocations: RevocationCheck,
    count_pdp: Callable[[str, float | None], None] = lambda *_: None,
    candidate: Config | None = None,
) -> Snapshot:
    """Compile one version of the settings, and the candidate's rules. Raises BuildError."""
    cache, token = config.cache, config.token
    delegations = RememberedDelegations(
        delegations_of(config, keys), keys, entries=cache.tokens, max_bytes=cache.max_bytes
    )
    policy = policy_of(config)
    step: PolicyStep = NotEnforced(policy) if config.shadow else policy
    policies = [policy]
    if candidate is not None:
        policies.append(policy_of(candidate))
        step = WithCandidate(step, policies[-1])
    reads = reads_of(config, policies)
    authorizer = authorizer_of(config, delegations, revocations, step)
    writer = Writer(
        config.headers,
        () if token.forward else (token.header,),
        token.dpop.algorithms,
        tuple(sorted(policy.added_headers)),
    )
    version = version_of(config)
    return Snapshot(
        authorizer=authorizer,
        reader=reader_of(config, policies),
        renderer=Renderer(writer, version, reads.claims),
        cache_settings=cache,
        policy_version=version,
        recorded_headers=reads.recorded,
        credential_headers=reads.credentials,
        decision_point=decision_point_of(config, count_pdp),
    )


def reads_of(config: Config, policies: Iterable[Policy]) -> Reads:
    """Return what decisions by these policies read: what each step of the pipeline declares."""
    identity = Identity(config.trust_domains, config.profiles)
    return Reads.union(
        (identity.reads, token_reads(config.token), *(policy.reads for policy in policies))
    )


def reader_of(config: Config, policies: Sequence[Policy]) -> Reader:
    """Return who reads the inputs of decisions by these policies, and no others.

    What none of them reads is no part of a cache key.
    """
    reads = reads_of(config, policies)
    return Reader(
        Inputs(
            reads.all_headers,
            tuple(sorted(reads.namespaces)),
            _messages_of(config, policies),
            owned_headers(config.headers.prefix).union(*(one.added_headers for one in policies)),
        )
    )


def _messages_of(config: Config, policies: Sequence[Policy]) -> Messages | None:
    routes = Routes(config.routes)
    if not routes.has_protocols:
        return None
    return Messages(
        routes,
        Identity(config.trust_domains, config.profiles).mcp_metadata,
        lambda call: any(policy.reads_arguments(call) for policy in policies),
    )
