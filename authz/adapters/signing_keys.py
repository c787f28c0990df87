"""The keys of issuers, as the readers of other signed documents of theirs use them."""

from typing import Protocol

from authz.core.jose.key_set import KeySet


class SigningKeys(Protocol):
    """The keys of issuers, which may be fetched again."""

    def get(self, issuer: str) -> KeySet | None:
        """Return the issuer's last good key set, None if there never was one. Never waits."""

    def refresh(self, issuer: str, key_id: str, timeout_seconds: float) -> bool:
        """Fetch for an unknown key, within the timeout; return whether it is known now."""
