"""A DPoP client: a key, and its proofs (RFC 9449 section 4.2), valid and invalid."""

import json
import secrets
import time
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from lab.issuer import SigningKey, b64, make_key, sign_raw

_PUBLIC_MEMBERS = ("crv", "e", "kty", "n", "x", "y")


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """Return the JWK SHA-256 thumbprint (RFC 7638 section 3)."""
    optional = {"alg", "kid", "use", "key_ops"}
    members = {name: jwk[name] for name in sorted(jwk) if name not in optional}
    return b64(sha256(json.dumps(members, separators=(",", ":")).encode()).digest())


class DpopClient:
    """A client that holds a key, and proves it."""

    def __init__(self, algorithm: str = "ES256") -> None:
        """Make a new key."""
        self.key = SigningKey("", algorithm, make_key(algorithm))
        whole = self.key.jwk()
        self.jwk = {name: whole[name] for name in _PUBLIC_MEMBERS if name in whole}

    @property
    def confirmation(self) -> dict[str, str]:
        """Return the ``cnf`` of a token that is bound to the key (section 6.1)."""
        return {"jkt": thumbprint(self.jwk)}

    def proof(
        self,
        token: str,
        method: str,
        uri: str,
        *,
        header: Mapping[str, Any] | None = None,
        **changes: Any,  # noqa: ANN401 - any claim
    ) -> str:
        """Make a proof of a request; ``header`` and ``changes`` alter it, None omits members."""
        members = {"typ": "dpop+jwt", "alg": self.key.algorithm, "jwk": self.jwk} | dict(
            header or {}
        )
        claims = {
            "jti": secrets.token_hex(8),
            "htm": method,
            "htu": uri,
            "iat": int(time.time()),
            "ath": b64(sha256(token.encode()).digest()),
        } | changes
        given = ({n: v for n, v in part.items() if v is not None} for part in (members, claims))
        return sign_raw(self.key, *(json.dumps(part).encode() for part in given))
