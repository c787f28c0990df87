"""SPIFFE bundles, and bundle endpoints that serve them."""

import json
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

from authz.adapters.keys.fetcher import KeySourceConfig
from authz.adapters.keys.folder import KeyFolder
from authz.adapters.keys.store import KeyStore
from authz.core.jose import KeySettings
from lab.ca import Authority, Svid
from lab.issuer import SigningKey
from support.jwks_server import ScriptedServer, answer
from support.world import wait_until

ISSUER = "https://spire.corp.example"
DOMAIN = "corp.example"
ENDPOINT = f"spiffe://{DOMAIN}/spire/server"


def entry(key: SigningKey, **changes: Any) -> dict[str, Any]:
    """A JWT key's entry of a bundle."""
    members = {**key.jwk(), "use": "jwt-svid", **changes}
    return {name: value for name, value in members.items() if value is not None}


def authority_entry(authority: Authority) -> dict[str, Any]:
    """An X.509 authority's entry of a bundle."""
    der = authority.certificate.public_bytes(Encoding.DER)
    return {"kty": "EC", "use": "x509-svid", "x5c": [b64encode(der).decode()]}


def bundle(*entries: dict[str, Any], **members: Any) -> bytes:
    """A bundle's document."""
    return json.dumps({"keys": list(entries), **members}).encode()


@contextmanager
def endpoint(document: bytes, svid: Svid) -> Iterator[ScriptedServer]:
    """A bundle endpoint over TLS."""
    server = ScriptedServer(answer(document, content_type="application/json"), tls=svid)
    try:
        yield server
    finally:
        server.close()


def spiffe_endpoint(
    server: ScriptedServer, bootstrap: Path, name: str = ENDPOINT
) -> dict[str, str]:
    """Settings for an endpoint that is known by its SPIFFE ID."""
    return {
        "endpoint": server.url,
        "profile": "https_spiffe",
        "endpoint_spiffe_id": name,
        "bootstrap": str(bootstrap),
    }


@contextmanager
def running_store(settings: KeySettings, cache: KeyFolder | None = None) -> Iterator[KeyStore]:
    """A store with the keys of ISSUER alone, after its first fetch."""
    store = KeyStore({ISSUER: KeySourceConfig(settings, frozenset({"ES256"}))}, cache)
    store.start()
    try:
        wait_until(lambda: store.status()[0].successes + store.status()[0].failures)
        yield store
    finally:
        store.close()
