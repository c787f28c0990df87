"""The source of a trust domain's keys: its SPIFFE bundle (SPIFFE Trust Domain and Bundle 4).

The bundle comes from a file, from a bundle endpoint (SPIFFE Federation section 5), or from the
SPIFFE Workload API. It is the bundle of one trust domain, which the config names and no document
can change. Unlike a JWK Set on the web, it can revoke all keys, by an empty ``keys``.
"""

import json
import time
from base64 import b64decode
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import jwt
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from authz.adapters.fetched import FetchedDocument, FetchError
from authz.adapters.keys.download import SpiffePeer, get
from authz.adapters.keys.jwk_set_file import read_file
from authz.adapters.workload_api import why_failed
from authz.core import strict_json
from authz.core.extras import missing_extra
from authz.core.jose.jwk import Key, KeySetError, usable_keys
from authz.core.jose.settings import KeySettings, SpiffeBundleSettings
from authz.core.spiffe import SpiffeId

JWT_USE: Final = "jwt-svid"
X509_USE: Final = "x509-svid"
_EC_ALGORITHMS: Final = {256: "ES256", 384: "ES384", 521: "ES512"}


class SpiffeBundleSource:
    """The source of a trust domain's bundle, whose sequence number must not go back."""

    def __init__(self, settings: KeySettings, bundle: SpiffeBundleSettings) -> None:
        """Take the settings of the source and of its bundle; nothing is read yet."""
        self._settings = settings
        self._bundle = bundle
        self._sequence = -1
        self._authorities = ""  # PEM, of the last good bundle

    def fetch(self) -> FetchedDocument:
        """Return the bundle's document, with its refresh hint.

        Blocks for ``settings.timeout`` at most. Raises FetchError, KeySetError.
        """
        bundle = self._bundle
        if bundle.file is not None:
            return FetchedDocument(read_file(Path(bundle.file)))
        if bundle.workload_api is not None:
            timeout = self._settings.timeout
            return FetchedDocument(
                _from_workload_api(bundle.workload_api, bundle.trust_domain, timeout)
            )
        deadline = time.monotonic() + self._settings.timeout
        fetched = get(str(bundle.endpoint), self._settings, deadline, self.peer())
        hint = _members(fetched.body, bundle.trust_domain).get("spiffe_refresh_hint")
        seconds = float(hint) if isinstance(hint, int) and not isinstance(hint, bool) else None
        return FetchedDocument(fetched.body, seconds)

    def peer(self) -> SpiffePeer | None:
        """Return the identity that the endpoint must prove; None if the web's CAs vouch for it.

        Raises FetchError, KeySetError for a first bundle that can't be used.
        """
        bundle = self._bundle
        if bundle.endpoint_spiffe_id is None or bundle.bootstrap is None:
            return None
        domain = SpiffeId.parse(bundle.endpoint_spiffe_id).trust_domain.name
        is_own = domain == bundle.trust_domain  # if not, its anchors are those of another domain
        authorities = self._authorities if is_own else ""
        if not authorities:
            document = _members(read_file(Path(bundle.bootstrap)), domain)
            authorities = _authorities(document)
        return SpiffePeer(bundle.endpoint_spiffe_id, authorities)

    def parse(
        self, document: bytes, algorithms: frozenset[str]
    ) -> tuple[Mapping[str, Key], tuple[tuple[str, str], ...]]:
        """Return the JWT keys by kid, and (kid, why) of the unusable ones. Raises KeySetError."""
        members = _members(document, self._bundle.trust_domain)
        sequence = members.get("spiffe_sequence", self._sequence)
        if isinstance(sequence, bool) or not isinstance(sequence, int):
            raise KeySetError("its spiffe_sequence is not a whole number")
        if sequence < self._sequence:
            raise KeySetError("its spiffe_sequence went back: an older bundle")
        listed = [jwk for jwk in members["keys"] if _use(jwk) == JWT_USE]
        keys, refused = usable_keys(listed, algorithms, JWT_USE)
        if listed and not keys:
            raise KeySetError(f"none of its {len(listed)} JWT keys can be used: {refused[0][1]}")
        self._sequence, self._authorities = sequence, _authorities(members)
        return keys, refused


def _members(document: bytes, trust_domain: str) -> dict[str, Any]:
    """Return the members of the trust domain's bundle, also out of a bundle map (section 5).

    Raises KeySetError.
    """
    try:
        members = strict_json.loads(document)
    except strict_json.StrictJsonError as error:
        raise KeySetError(str(error)) from None
    if isinstance(members, dict) and isinstance(members.get("trust_domains"), dict):
        members = members["trust_domains"].get(trust_domain)
    if not isinstance(members, dict) or not isinstance(members.get("keys"), list):
        raise KeySetError("not a SPIFFE bundle of the trust domain: it has no list named keys")
    return members


def _use(jwk: object) -> object:
    return jwk.get("use") if isinstance(jwk, dict) else None


def _authorities(members: Mapping[str, Any]) -> str:
    """Return PEM of the X.509 authorities: each entry's first certificate (X509-SVID section 6)."""
    pems: list[str] = []
    for jwk in members["keys"]:
        chain = jwk.get("x5c") if _use(jwk) == X509_USE else None
        if isinstance(chain, list) and chain and isinstance(chain[0], str):
            try:
                certificate = x509.load_der_x509_certificate(b64decode(chain[0], validate=True))
            except ValueError:
                continue
            pems.append(certificate.public_bytes(Encoding.PEM).decode())
    return "".join(pems)


def _from_workload_api(address: str, trust_domain: str, timeout_seconds: float) -> bytes:
    """Fetch the trust domain's JWT keys by the Workload API, as a bundle's document.

    Each fetch is a separate call: otherwise the keys would be lost with a stream that ends for
    good. Raises FetchError.
    """
    try:
        from spiffe import TrustDomain, WorkloadApiClient  # noqa: PLC0415 - an optional extra
    except ImportError:
        raise FetchError(missing_extra("spiffe", "the Workload API needs")) from None
    try:
        with WorkloadApiClient(address, default_timeout=timeout_seconds) as client:
            bundles = client.fetch_jwt_bundles()
        bundle = bundles.get_bundle_for_trust_domain(TrustDomain(trust_domain))
    except Exception as error:  # noqa: BLE001 - the library raises gRPC's and its own
        raise FetchError(why_failed(address, error, timeout_seconds)) from None
    if bundle is None:
        raise FetchError(
            f"the Workload API has no bundle for the trust domain {trust_domain}: is the agent of"
            " this trust domain, or federated with it?"
        )
    keys = [_jwk(kid, public) for kid, public in bundle.jwt_authorities.items()]
    return json.dumps({"keys": keys}).encode()


def _jwk(key_id: str, public: object) -> dict[str, Any]:
    if isinstance(public, ec.EllipticCurvePublicKey):
        name = _EC_ALGORITHMS.get(public.curve.key_size, "ES256")
        members = jwt.get_algorithm_by_name(name).to_jwk(public, as_dict=True)
    elif isinstance(public, rsa.RSAPublicKey):
        members = jwt.get_algorithm_by_name("RS256").to_jwk(public, as_dict=True)
    else:
        members = {"kty": type(public).__name__}  # refused by name
    return {**members, "kid": key_id, "use": JWT_USE, "key_ops": ["verify"]}
