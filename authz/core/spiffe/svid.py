"""The caller's certificate, checked as an X.509-SVID leaf (X509-SVID sections 2, 4 and 5.2)."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID

from authz.core.base64url import base64url
from authz.core.paths import unescaped
from authz.core.reason import Denied, Reason

MAX_CERTIFICATE_CHARS: Final = 16 * 1024  # URL-encoded; a P-256 SVID is 1 KiB, an RSA-4096 one 4
NOT_BEFORE_SKEW_SECONDS: Final = 60.0  # for a certificate issued just now, by a clock ahead of ours
_PARSED_CERTIFICATES: Final = 4096  # agents times rotations under way; some 1.5 KiB each
_ANY_BEGIN: Final = "-----BEGIN "
_BEGIN: Final = "-----BEGIN CERTIFICATE-----"


@dataclass(frozen=True, slots=True)
class Svid:
    """The content of a leaf certificate, or the reason why it is not acceptable.

    Attributes:
        uris: its URI names, of any scheme.
        thumbprint: base64url SHA-256 of its DER (RFC 8705 ``x5t#S256``).
        not_before, not_after: unix seconds.
        fault: the rule that it breaks; "" for none.
    """

    uris: tuple[str, ...] = ()
    thumbprint: str = ""
    not_before: float = 0.0
    not_after: float = 0.0
    fault: str = ""


def checked_svid(certificate: str, now: float, origin: str) -> Svid:
    """Return the SVID in a PEM certificate, URL-encoded or not, with exactly one URI name.

    Raises Denied(AGENT_INVALID) for a certificate that breaks a rule, has expired or is not yet
    valid. ``origin`` names the place of the text, for operators.
    """
    if len(certificate) > MAX_CERTIFICATE_CHARS:
        raise Denied(Reason.AGENT_INVALID, f"{origin} is too large")
    svid = _parse(certificate)
    if svid.fault:
        raise Denied(Reason.AGENT_INVALID, f"{origin}: {svid.fault}")
    # The proxy verified it when the connection was made, perhaps long ago: it may have expired
    # since.
    if now >= svid.not_after:
        raise Denied(Reason.AGENT_INVALID, f"{origin} has expired")
    if now < svid.not_before - NOT_BEFORE_SKEW_SECONDS:
        raise Denied(Reason.AGENT_INVALID, f"{origin} is not yet valid")
    return svid


@lru_cache(_PARSED_CERTIFICATES)  # a pure function of few different texts, at some 50 us each
def _parse(url_encoded: str) -> Svid:
    pem = unescaped(url_encoded).decode("utf-8", "replace")
    # Count any label: the parser takes "X509 CERTIFICATE" too, and would choose among several.
    if _BEGIN not in pem or pem.count(_ANY_BEGIN) != 1:
        return Svid(fault="not exactly one certificate")
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        fault = _leaf_fault(certificate)
        uris = _uris(certificate)
        der_digest = certificate.fingerprint(hashes.SHA256())
        not_before = certificate.not_valid_before_utc.timestamp()
        not_after = certificate.not_valid_after_utc.timestamp()
    except Exception:  # noqa: BLE001 - the parser raises several kinds on hostile input
        return Svid(fault="not an X.509 certificate")
    if len(uris) != 1:  # X509-SVID section 2: of any scheme
        fault = fault or "not exactly one URI name"
    thumbprint = base64url(der_digest)
    return Svid(uris, thumbprint, not_before, not_after, fault)


def _uris(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(names.get_values_for_type(x509.UniformResourceIdentifier))


def _leaf_fault(certificate: x509.Certificate) -> str:
    """Return the rule of X509-SVID sections 4.1, 4.3 and 4.4 that a leaf breaks; "" for none."""
    extensions = {type(extension.value): extension.value for extension in certificate.extensions}
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
