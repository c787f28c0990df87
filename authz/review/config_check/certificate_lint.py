"""Warns about certificates that TLS can load but that no other side accepts, now or soon."""

import datetime as dt
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from authz.adapters.files import read_between
from authz.adapters.tls import MAX_FILE_BYTES
from authz.config import Config, Place
from authz.core.reason import Denied
from authz.core.spiffe.svid import checked_svid
from authz.review.config_check.certificate_files import shown_files, trusted_files
from authz.transports.vouching import find_fault

Warnings = Iterator[tuple[Place, str]]
# Curves of a server's key whose signatures BoringSSL accepts, which Envoy and gRPC are built with.
# By default it accepts neither Ed25519 nor P-521.
_CURVES: Final = (ec.SECP256R1, ec.SECP384R1)
# Renewal is due well before the end: cert-manager renews after two thirds of a lifetime, SPIRE
# after half of it, certbot 30 days of 90 before the end. For a long lifetime, a warning in the last
# two weeks is enough.
_LAST_PART: Final = 10
_LONGEST_WARNING: Final = dt.timedelta(days=14)


def certificate_warnings(config: Config, now: dt.datetime) -> Warnings:
    """Yield the place of each doubtful certificate that can be read here, and the warning."""
    yield from _server(config, now)
    for place, path in shown_files(config):
        chain = _read(path)
        yield from ((place, why) for why in _why_not_now(chain, now))
        if chain and not _is_for(chain[0], ExtendedKeyUsageOID.CLIENT_AUTH):
            yield place, "it is not for client authentication, by its extended key usage"
    for place, path in trusted_files(config):
        authorities = _read(path)
        if authorities and all(one.not_valid_after_utc < now for one in authorities):
            yield place, "all of its certificates have expired"


def _server(config: Config, now: dt.datetime) -> Warnings:
    tls = config.server.tls
    if tls is None or tls.workload_api is not None:
        return
    place: Place = ("server", "tls", "certificate")
    chain = _read(tls.certificate)
    yield from ((place, why) for why in _why_not_now(chain, now))
    if chain:
        yield from ((place, why) for why in _why_no_proxy_takes(chain[0]))
    authorities = _read(tls.client_ca)
    faults = [_why_useless(one, now) for one in authorities]
    if faults and all(faults):
        count = len(faults)
        which = "its certificate can't" if count == 1 else f"none of its {count} certificates can"
        message = f"{which} vouch for a caller, so that no proxy may ask: {faults[0]}"
        yield ("server", "tls", "client_ca"), message


def _why_not_now(chain: Iterable[x509.Certificate], now: dt.datetime) -> Iterator[str]:
    """Yield the faults in the times of a certificate and of its intermediates."""
    for number, one in enumerate(chain):
        name = f"its intermediate {number}" if number else "it"
        begin, end = one.not_valid_before_utc, one.not_valid_after_utc
        if end < now:
            yield f"{name} expired at {_said(end)}, so that nobody accepts it: renew it"
        elif begin > now:
            yield f"{name} is not valid before {_said(begin)}"
        elif end - now < min((end - begin) / _LAST_PART, _LONGEST_WARNING):
            yield f"{name} expires soon, at {_said(end)}, and nothing has renewed it yet"


def _why_no_proxy_takes(certificate: x509.Certificate) -> Iterator[str]:
    """Yield the reasons why a proxy refuses a server's certificate at any time."""
    try:
        if not _has_usable_key(certificate):
            yield (
                "Envoy and gRPC take no such key in a handshake:"
                " use ECDSA with P-256 or P-384, or RSA of 2048 bits or more"
            )
        extensions = certificate.extensions
    except (ValueError, UnsupportedAlgorithm):
        yield "its key or its extensions can't be read"
        return
    if not any(isinstance(one.value, x509.SubjectAlternativeName) for one in extensions):
        yield (
            "it has no subject alternative name, as a SPIFFE ID or a DNS name,"
            " and a proxy can verify it by no other name"
        )
    if not _is_for(certificate, ExtendedKeyUsageOID.SERVER_AUTH):
        yield "it is not for server authentication, by its extended key usage"


def _has_usable_key(certificate: x509.Certificate) -> bool:
    """Tell whether BoringSSL takes the key. Raises ValueError, UnsupportedAlgorithm."""
    key = certificate.public_key()
    is_curve = isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES)
    return is_curve or isinstance(key, rsa.RSAPublicKey)  # TLS itself refuses a short key


def _is_for(certificate: x509.Certificate, usage: x509.ObjectIdentifier) -> bool:
    """Tell whether the extended key usage, if there is one, permits this (RFC 5280 4.2.1.12)."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except (ValueError, x509.ExtensionNotFound):
        return True
    return not {usage, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}.isdisjoint(extension.value)


def _why_useless(authority: x509.Certificate, now: dt.datetime) -> str:
    """Return why no caller's chain can end at a certificate; "" if one can.

    It may also be the certificate of a caller itself.
    """
    try:
        fault = find_fault(authority, now)
    except (ValueError, UnsupportedAlgorithm):
        return "it can't be read"
    return "" if _is_svid(authority, now) else fault


def _is_svid(certificate: x509.Certificate, now: dt.datetime) -> bool:
    pem = certificate.public_bytes(Encoding.PEM).decode()
    try:
        checked_svid(pem, now.timestamp(), "it")
    except Denied:
        return False
    return True


def _read(path: str | None) -> list[x509.Certificate]:
    """Return the certificates in a file; [] if it can't be read, which another check reports."""
    try:
        return x509.load_pem_x509_certificates(read_between(Path(str(path)), MAX_FILE_BYTES))
    except (OSError, ValueError):
        return []


def _said(when: dt.datetime) -> str:
    return f"{when:%Y-%m-%dT%H:%M:%SZ}"
