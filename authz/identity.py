"""Step 1, who calls: the agent's SPIFFE ID, from the mTLS connection that the proxy terminated.

``source.principal`` is whatever name Envoy found first in the certificate: a URI, else a DNS name,
else the subject. So it is parsed as a SPIFFE ID; where the certificate is sent too, it must be the
SVID of the same ID (X509-SVID sections 2, 4 and 5.2). Nothing that a client can write is read.
"""

from base64 import urlsafe_b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal
from urllib.parse import unquote

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID

from authz.decision import Agent
from authz.reason import Denied, Reason
from authz.request import Request
from authz.settings import Settings
from authz.spiffe import SpiffeId, SpiffeIdError

PROFILE: Final = "authz_profile"  # the context extension by which a route names its profile
DEFAULT: Final = "default"
MAX_CERTIFICATE_CHARS: Final = 16 * 1024  # URL-encoded; a P-256 SVID is 1 KiB, an RSA-4096 one 4
NOT_BEFORE_SKEW_SECONDS: Final = 60.0  # a certificate issued a moment ago, by a clock ahead of ours
_PARSED_CERTIFICATES: Final = 4096  # agents times rotations under way; some 1.5 KiB each
_ANY_BEGIN: Final = "-----BEGIN "
_BEGIN: Final = "-----BEGIN CERTIFICATE-----"


class ProfileSettings(Settings):
    """How a kind of proxy presents the caller."""

    identity: Literal["principal"] = "principal"
    """principal: Envoy's source.principal, checked against source.certificate where it is sent."""
    certificate: Literal["optional", "required"] = "optional"
    """Whether a request without source.certificate (include_peer_certificate) is refused."""


@dataclass(frozen=True, slots=True)
class _Svid:
    """What a leaf certificate says, or why it is none that is acceptable."""

    uris: tuple[str, ...] = ()
    thumbprint: str = ""
    not_before: float = 0.0
    not_after: float = 0.0
    fault: str = ""


class Identity:
    """Establishes agents."""

    def __init__(
        self, trust_domains: Iterable[str], profiles: Mapping[str, ProfileSettings]
    ) -> None:
        """Take the trust domains that are known, and the profiles by name."""
        self._trust_domains = frozenset(trust_domains)
        self._profiles = {DEFAULT: ProfileSettings(), **profiles}

    def identify(self, request: Request, now: float) -> Agent:
        """The calling agent.

        Raises Denied(AGENT_MISSING | AGENT_INVALID | AGENT_UNTRUSTED_DOMAIN | IDENTITY_CONFLICT).
        """
        profile = self._profiles.get(request.context_value(PROFILE) or DEFAULT)
        if profile is None:
            raise Denied(Reason.AGENT_INVALID, "the route names a profile that is not configured")
        spiffe_id = _spiffe_id(request.principal)
        if spiffe_id.trust_domain.name not in self._trust_domains:
            raise Denied(Reason.AGENT_UNTRUSTED_DOMAIN, "not one of trust_domains")
        if not request.certificate:
            if profile.certificate == "required":
                raise Denied(Reason.AGENT_INVALID, "the proxy sent no certificate")
            return Agent(spiffe_id)
        svid = _checked_svid(request.certificate, spiffe_id, now)
        return Agent(spiffe_id, svid.thumbprint, svid.not_after)


def _spiffe_id(principal: str) -> SpiffeId:
    if not principal:
        raise Denied(Reason.AGENT_MISSING, "the proxy sent no source.principal")
    try:
        return SpiffeId.parse(principal)
    except SpiffeIdError as error:
        raise Denied(Reason.AGENT_INVALID, f"source.principal: {error}") from None


def _checked_svid(certificate: str, spiffe_id: SpiffeId, now: float) -> _Svid:
    if len(certificate) > MAX_CERTIFICATE_CHARS:
        raise Denied(Reason.AGENT_INVALID, "source.certificate is too large")
    svid = _parse(certificate)
    if svid.fault:
        raise Denied(Reason.AGENT_INVALID, f"source.certificate: {svid.fault}")
    if svid.uris != (spiffe_id.text,):
        raise Denied(Reason.IDENTITY_CONFLICT, "source.certificate is of another ID")
    # The proxy verified it when the connection was made, which may be long ago.
    if now >= svid.not_after:
        raise Denied(Reason.AGENT_INVALID, "source.certificate has expired")
    if now < svid.not_before - NOT_BEFORE_SKEW_SECONDS:
        raise Denied(Reason.AGENT_INVALID, "source.certificate is not yet valid")
    return svid


@lru_cache(_PARSED_CERTIFICATES)  # a pure function that costs some 50 us, on few texts
def _parse(url_encoded: str) -> _Svid:
    pem = unquote(url_encoded)
    # Of any label: the parser takes "X509 CERTIFICATE" too, and would choose among several.
    if _BEGIN not in pem or pem.count(_ANY_BEGIN) != 1:
        return _Svid(fault="not exactly one certificate")
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        fault = _leaf_fault(certificate)
        uris = _uris(certificate)
        der_digest = certificate.fingerprint(hashes.SHA256())
        not_before = certificate.not_valid_before_utc.timestamp()
        not_after = certificate.not_valid_after_utc.timestamp()
    except Exception:  # noqa: BLE001 - the parser raises several kinds on hostile input
        return _Svid(fault="not an X.509 certificate")
    if len(uris) != 1:  # X509-SVID section 2: of any scheme
        fault = fault or "not exactly one URI name"
    thumbprint = urlsafe_b64encode(der_digest).rstrip(b"=").decode()
    return _Svid(uris, thumbprint, not_before, not_after, fault)


def _uris(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(names.get_values_for_type(x509.UniformResourceIdentifier))


def _leaf_fault(certificate: x509.Certificate) -> str:
    """The rule of X509-SVID sections 4.1, 4.3 and 4.4 that a leaf breaks; "" for none."""
    extensions = {type(one.value): one.value for one in certificate.extensions}
    constraints = extensions.get(x509.BasicConstraints)
    if isinstance(constraints, x509.BasicConstraints) and constraints.ca:
        return "a CA certificate"
    usage = extensions.get(x509.KeyUsage)
    if not isinstance(usage, x509.KeyUsage):
        return "no key usage"
    if usage.key_cert_sign or usage.crl_sign:
        return "may sign certificates or revocation lists"
    if not usage.digital_signature:
        return "may not sign"
    extended = extensions.get(x509.ExtendedKeyUsage)
    if extended is not None and ExtendedKeyUsageOID.CLIENT_AUTH not in list(extended):
        return "not for client authentication"
    return ""
