"""A snapshot of an issuer's usable keys, with the time until which they may be trusted."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from authz.core.jose.jwk import Key


@dataclass(frozen=True, slots=True)
class KeySet:
    """An immutable snapshot of an issuer's keys.

    Attributes:
        keys: by kid.
        refused: (kid, why) of the unusable keys.
        fetched_at: unix seconds of the fetch that last confirmed the set.
        usable_until: unix seconds after which the set is too old to trust.
        is_kept: whether an earlier run of the server fetched it.
    """

    keys: Mapping[str, Key]
    refused: tuple[tuple[str, str], ...]
    fetched_at: float
    usable_until: float
    is_kept: bool = False

    def has_same_keys(self, other: "KeySet") -> bool:
        """Tell whether both hold exactly the same keys, for the same algorithms."""
        return {kid: key.thumbprint for kid, key in self.keys.items()} == {
            kid: key.thumbprint for kid, key in other.keys.items()
        }


class KeyLookup(Protocol):
    """Looks up the keys of issuers.

    Guarantees never to wait, and that the keys came from the issuer's configured place. Does not
    guarantee that a set is still fresh: ``usable_until`` says that.
    """

    def get(self, issuer: str) -> KeySet | None:
        """Return the issuer's last good key set; None if there never was a good set."""
