"""Builds the running parts from a config: the only place where they are put together."""

from authz.wiring.policy_version import compute_policy_version
from authz.wiring.snapshot import (
    BuildError,
    build_authorizer,
    build_decision_point,
    build_delegations,
    build_inputs,
    build_key_sources,
    build_policy,
    build_policy_step,
    build_snapshot,
    prepare_introspections,
    read_introspection_credential,
    read_nonce_secret,
    read_revocations,
)

__all__ = [
    "BuildError",
    "build_authorizer",
    "build_decision_point",
    "build_delegations",
    "build_inputs",
    "build_key_sources",
    "build_policy",
    "build_policy_step",
    "build_snapshot",
    "compute_policy_version",
    "prepare_introspections",
    "read_introspection_credential",
    "read_nonce_secret",
    "read_revocations",
]
