"""Makes the running parts of a config: the one place where they are put together."""

from authz.wiring.policy_version import version_of
from authz.wiring.snapshot import (
    BuildError,
    authorizer_of,
    decision_point_of,
    delegations_of,
    key_sources,
    nonce_secret_of,
    policy_of,
    reader_of,
    revocations_of,
    snapshot_of,
)

__all__ = [
    "BuildError",
    "authorizer_of",
    "decision_point_of",
    "delegations_of",
    "key_sources",
    "nonce_secret_of",
    "policy_of",
    "reader_of",
    "revocations_of",
    "snapshot_of",
    "version_of",
]
