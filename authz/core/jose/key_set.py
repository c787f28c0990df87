"""A snapshot of an issuer's usable keys, with the time until which they may be trusted."""

from collections.abc import Mapping
from dataclasses import dataclass

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
