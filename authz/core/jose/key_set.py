"""An issuer's usable keys at one moment, and for how long they may be trusted."""

from collections.abc import Mapping
from dataclasses import dataclass

from authz.core.jose.jwk import Key


@dataclass(frozen=True, slots=True)
class KeySet:
    """An immutable snapshot of an issuer's keys.

    Attributes:
        keys: by kid.
        refused: (kid, why) of the keys that can't be used.
        fetched_at: unix seconds of the fetch that last confirmed it.
        usable_until: unix seconds after which it is too old to trust.
        is_kept: whether it is what a run before this one fetched.
    """

    keys: Mapping[str, Key]
    refused: tuple[tuple[str, str], ...]
    fetched_at: float
    usable_until: float
    is_kept: bool = False

    def has_same_keys(self, other: "KeySet") -> bool:
        """Tell whether the very same keys are in both, for the same algorithms."""
        return {k: v.thumbprint for k, v in self.keys.items()} == {
            k: v.thumbprint for k, v in other.keys.items()
        }
