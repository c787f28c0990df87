"""A config made into the parts that decide: what ``authz serve`` and ``authz explain`` share."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from authz.authorizer import Authorizer, RevocationCheck
from authz.config import Config
from authz.delegation import (
    Delegations,
    DelegationStep,
    DpopProofs,
    DpopSettings,
    RememberedDelegations,
)
from authz.envoy import Inputs, Reader, Writer
from authz.identity import Identity
from authz.keys import KeySource, KeyStore
from authz.pdp import AuthzenPoint, PdpError
from authz.policy import Policy
from authz.rendering import Renderer
from authz.request import DPOP, XFCC
from authz.revocations import RevocationError, RevocationList
from authz.routes import Routes
from authz.service import Snapshot
from authz.tls import ServerTls

MIN_SECRET_BYTES: Final = 32  # as long as the HMAC's digest (RFC 2104 section 3)


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
    proofs = DpopProofs(dpop, _nonce_secret(dpop))
    return Delegations(config.token, config.issuers, keys, proofs)


def check_files(config: Config) -> None:
    """Read the files that the config names. Raises BuildError, TlsError."""
    _nonce_secret(config.token.dpop)
    revocations_of(config)
    decision_point_of(config)
    if config.server.tls and config.server.tls.workload_api is None:
        ServerTls(config.server.tls)


def _nonce_secret(settings: DpopSettings) -> bytes:
    if settings.nonce_secret is None:
        return b""
    try:
        secret = Path(settings.nonce_secret).read_bytes()
    except OSError as error:
        raise BuildError(f"token.dpop.nonce_secret can't be read: {error.strerror}") from None
    if len(secret) < MIN_SECRET_BYTES:
        raise BuildError(f"token.dpop.nonce_secret has less than {MIN_SECRET_BYTES} bytes")
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


def authorizer_of(
    config: Config, delegations: DelegationStep, revocations: RevocationCheck
) -> Authorizer:
    """The pipeline."""
    return Authorizer(
        Routes(config.routes),
        Identity(config.trust_domains, config.profiles),
        delegations,
        revocations,
        Policy(config.agents, config.principals, config.grants, config.earlier_actors),
    )


def snapshot_of(
    config: Config,
    keys: KeyStore,
    revocations: RevocationCheck,
    count_pdp: Callable[[str, float | None], None] = lambda *_: None,
) -> Snapshot:
    """Compile one version of the settings. Raises BuildError."""
    cache, token = config.cache, config.token
    delegations = RememberedDelegations(
        delegations_of(config, keys), keys, entries=cache.tokens, max_bytes=cache.max_bytes
    )
    authorizer = authorizer_of(config, delegations, revocations)
    writer = Writer(config.headers, () if token.forward else (token.header,), token.dpop.algorithms)
    return Snapshot(
        authorizer=authorizer,
        reader=Reader(_inputs(config, authorizer)),
        renderer=Renderer(writer, authorizer.policy.version),
        cache_settings=cache,
        policy_version=authorizer.policy.version,
        decision_point=decision_point_of(config, count_pdp),
    )


def _inputs(config: Config, authorizer: Authorizer) -> Inputs:
    """What decisions read by this config: a header that nothing reads is no part of a cache key."""
    profiles = config.profiles.values()
    headers = {config.token.header, DPOP}
    if any(profile.identity == "xfcc" for profile in profiles):
        headers.add(XFCC)
    namespaces = {one.namespace for one in profiles if one.identity == "metadata"}
    return Inputs(frozenset(headers), tuple(sorted(namespaces)), authorizer.routes.bootstrap)
