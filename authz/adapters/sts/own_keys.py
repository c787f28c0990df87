"""The keys of all issuers, with those of the token service itself, which it need not fetch."""

from collections.abc import Callable
from math import inf
from typing import Final

from authz.core.jose.jwk import KeySetError, parse_key_set
from authz.core.jose.key_set import KeyLookup, KeySet

# Those of our signing keys. The issuer's entry in the config says which its tokens may have.
_ALGORITHMS: Final = frozenset({"ES256", "EdDSA", "Ed25519"})


class OwnKeys:
    """Looks up keys: our own where the issuer is ourselves. For any thread."""

    def __init__(self, issuer: str, published: Callable[[], bytes], others: KeyLookup) -> None:
        """Take our ``iss``, what returns our JWK Set as it is published now, and the others."""
        self._issuer = issuer
        self._published = published
        self._others = others
        self._last: tuple[bytes, KeySet | None] = (b"", None)

    def get(self, issuer: str) -> KeySet | None:
        """Return the issuer's key set, None without one. Never waits."""
        if issuer != self._issuer:
            return self._others.get(issuer)
        document = self._published()
        if document != self._last[0]:
            self._last = (document, self._parsed(document))
        return self._last[1]

    def _parsed(self, document: bytes) -> KeySet | None:
        try:
            keys, refused = parse_key_set(document, _ALGORITHMS)
        except KeySetError:
            return None
        return KeySet(keys, refused, 0.0, inf)
