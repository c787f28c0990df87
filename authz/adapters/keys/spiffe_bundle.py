"""The source of a trust domain's keys: its SPIFFE bundle (SPIFFE Trust Domain and Bundle 4).

The bundle comes from a file, from a bundle endpoint (SPIFFE Federation section 5), or from the
SPIFFE Workload API. It is the bundle of one trust domain, which the config names and no document
can change. Unlike a JWK Set on the web, it can revoke all keys, by an empty ``keys``.
"""

import json
import time
from base64 import b64decode
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import jwt
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from authz.adapters.agent_stream import AgentCall, AgentError, AgentStream
from authz.adapters.fetched import FetchedDocument, FetchError
from authz.adapters.keys.download import SpiffePeer, get
from authz.adapters.keys.jwk_set_file import ParsedKeys, read_file
from authz.core import strict_json
from authz.core.jose.jwk import KeySetError, usable_keys
from authz.core.jose.settings import KeySettings, SpiffeBundleSettings
from authz.core.spiffe import SpiffeId

if TYPE_CHECKING:  # an optional extra
    from spiffe import JwtBundleSet

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
        self._last = b""  # the document of the last good bundle
        self._anchor = ""
        self._candidate = ""  # the digest of the bootstrap file that the fetch under way relies on
        self._agent = _agent(settings, bundle)

    @property
    def anchor(self) -> str:
        """Return a digest of the bootstrap file that the last good bundle came after."""
        return self._anchor

    def close(self) -> None:
        """Stop following the agent."""
        if self._agent is not None:
            self._agent.close()

    def fetch(self) -> FetchedDocument:
        """Return the bundle's document, with its refresh hint.

        Blocks for ``settings.timeout`` at most. Raises FetchError, KeySetError.
        """
        bundle = self._bundle
        if bundle.file is not None:
            return FetchedDocument(read_file(Path(bundle.file)))
        if self._agent is not None:
            try:
                return FetchedDocument(self._agent.newest())
            except AgentError as error:
                raise FetchError(str(error)) from None
        deadline = time.monotonic() + self._settings.timeout
        fetched = get(str(bundle.endpoint), self._settings, deadline, self.peer())
        hint = _members(fetched.body, bundle.trust_domain).get("spiffe_refresh_hint")
        seconds = float(hint) if isinstance(hint, int) and not isinstance(hint, bool) else None
        if fetched.body == self._last:  # which is not parsed again
            self._anchor = self._candidate or self._anchor
        return FetchedDocument(fetched.body, seconds)

    def peer(self) -> SpiffePeer | None:
        """Return the identity that the endpoint must prove; None if the web's CAs vouch for it.

        Raises FetchError, KeySetError for a first bundle that can't be used.
        """
        bundle = self._bundle
        if bundle.endpoint_spiffe_id is None or bundle.bootstrap is None:
            return None
        if self._authorities and self._is_own and not self._is_superseded():
            self._candidate = ""  # of a fetch that failed: this one does not rely on it
            return SpiffePeer(bundle.endpoint_spiffe_id, self._authorities)
        data = read_file(Path(bundle.bootstrap))
        document = _members(data, _domain_of(bundle.endpoint_spiffe_id))
        self._candidate = _digest(data)
        return SpiffePeer(bundle.endpoint_spiffe_id, _authorities(document))

    @property
    def _is_own(self) -> bool:
        """Tell whether the bundle has its endpoint's CAs; if not, those of another domain count."""
        return _domain_of(str(self._bundle.endpoint_spiffe_id)) == self._bundle.trust_domain

    def _is_superseded(self) -> bool:
        """Tell whether the bootstrap file was replaced by a newer one since the last good bundle.

        An operator who replaces it may withdraw a CA whose key was stolen. A file that can't be
        used, or whose sequence number says that it is no newer, changes nothing.
        """
        try:
            data = read_file(Path(str(self._bundle.bootstrap)))
            sequence = _members(data, self._bundle.trust_domain).get("spiffe_sequence")
        except (FetchError, KeySetError):
            return False
        is_no_newer = isinstance(sequence, int) and sequence <= self._sequence
        return _digest(data) != self._anchor and not is_no_newer

    def parse_kept(self, document: bytes, anchor: str, algorithms: frozenset[str]) -> ParsedKeys:
        """Return the keys of a bundle that was kept on disk. Raises KeySetError.

        Its CAs authenticate the endpoint from now on, as those of the last good bundle: it was
        fetched from an endpoint that the bootstrap file, or a bundle after it, authenticated.
        """
        parsed = self.parse(document, algorithms)
        self._anchor = anchor
        if self._bundle.bootstrap is not None and self._is_own and self._is_superseded():
            self._sequence, self._authorities = -1, ""
            raise KeySetError("the bootstrap file was replaced since they were fetched")
        return parsed

    def parse(self, document: bytes, algorithms: frozenset[str]) -> ParsedKeys:
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
        self._anchor, self._last = self._candidate or self._anchor, document
        return keys, refused


def _agent(settings: KeySettings, bundle: SpiffeBundleSettings) -> AgentStream[bytes] | None:
    if bundle.workload_api is None:
        return None
    call = AgentCall("fetch_jwt_bundles", "stream_jwt_bundles", _document_of(bundle.trust_domain))
    confirm_seconds = min(settings.refresh, settings.max_age / 2)
    return AgentStream(bundle.workload_api, call, settings.timeout, confirm_seconds)


def _domain_of(spiffe_id: str) -> str:
    return SpiffeId.parse(spiffe_id).trust_domain.name


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest()


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


def _document_of(trust_domain: str) -> Callable[["JwtBundleSet"], bytes]:
    """Return what makes a bundle's document of the agent's bundles. It raises AgentError."""

    def read(bundles: "JwtBundleSet") -> bytes:
        from spiffe import TrustDomain  # noqa: PLC0415 - an optional extra

        bundle = bundles.get_bundle_for_trust_domain(TrustDomain(trust_domain))
        if bundle is None:
            raise AgentError(
                f"the Workload API has no bundle for the trust domain {trust_domain}: is the agent"
                " of this trust domain, or federated with it?"
            )
        keys = [_jwk(kid, public) for kid, public in sorted(bundle.jwt_authorities.items())]
        return json.dumps({"keys": keys}).encode()

    return read


def _jwk(key_id: str, public: object) -> dict[str, Any]:
    if isinstance(public, ec.EllipticCurvePublicKey):
        name = _EC_ALGORITHMS.get(public.curve.key_size, "ES256")
        members = jwt.get_algorithm_by_name(name).to_jwk(public, as_dict=True)
    elif isinstance(public, rsa.RSAPublicKey):
        members = jwt.get_algorithm_by_name("RS256").to_jwk(public, as_dict=True)
    else:
        members = {"kty": type(public).__name__}  # refused by name
    return {**members, "kid": key_id, "use": JWT_USE, "key_ops": ["verify"]}
