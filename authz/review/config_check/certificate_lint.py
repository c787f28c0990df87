"""Warns about certificates that TLS can load but that no other side accepts, now or soon."""

import datetime as dt
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from authz.adapters.files import read_between
from authz.adapters.tls import MAX_FILE_BYTES
from authz.adapters.tls_fitness import faults_at_any_time, is_for, said
from authz.config import Config, Place
from authz.core.reason import Denied
from authz.core.spiffe.svid import checked_svid
from authz.review.config_check.certificate_files import shown_files, trusted_files
from authz.transports.vouching import find_fault

Warnings = Iterator[tuple[Place, str]]
# Renewal is due well before the end: cert-manager renews after two thirds of a lifetime, SPIRE
# after half of it, certbot 30 days of 90 before the end. For a long lifetime, a warning in the last
# two weeks is enough.
_LAST_PART: Final = 10
_LONGEST_WARNING: Final = dt.timedelta(days=14)


def certificate_warnings(config: Config, now: dt.datetime) -> Warnings:
    """Yield the place of each doubtful certificate that can be read here, and the warning."""
    tls, sts = config.server.tls, config.sts
    if tls is not None and tls.workload_api is None:
        yield from _server(("server", "tls"), tls.certificate, tls.client_ca, "proxy", now)
    if sts is not None:
        files = (sts.tls.certificate, sts.tls.client_ca)
        yield from _server(("sts", "tls"), *files, "agent", now)
    for place, path in shown_files(config):
        chain = _read(path)
        yield from ((place, why) for why in _why_not_now(chain, now))
        if chain and not is_for(chain[0], ExtendedKeyUsageOID.CLIENT_AUTH):
            yield place, "it is not for client authentication, by its extended key usage"
    for place, path in trusted_files(config):
        authorities = _read(path)
        if authorities and all(one.not_valid_after_utc < now for one in authorities):
            yield place, "all of its certificates have expired"


def _server(
    section: Place, certificate: str | None, client_ca: str | None, client: str, now: dt.datetime
) -> Warnings:
    """Check the certificate that clients see, and the CAs that vouch for them."""
    place: Place = (*section, "certificate")
    chain = _read(certificate)
    yield from ((place, why) for why in _why_not_now(chain, now))
    if chain:
        yield from ((place, why) for why in faults_at_any_time(chain[0]))
    authorities = _read(client_ca)
    faults = [_why_useless(one, now) for one in authorities]
    if faults and all(faults):
        count = len(faults)
        which = "its certificate can't" if count == 1 else f"none of its {count} certificates can"
        message = f"{which} vouch for a caller, so that no {client} may ask: {faults[0]}"
        yield (*section, "client_ca"), message


def _why_not_now(chain: Iterable[x509.Certificate], now: dt.datetime) -> Iterator[str]:
    """Yield the faults in the times of a certificate and of its intermediates."""
    for number, one in enumerate(chain):
        name = f"its intermediate {number}" if number else "it"
        begin, end = one.not_valid_before_utc, one.not_valid_after_utc
        if end < now:
            yield f"{name} expired at {said(end)}, so that nobody accepts it: renew it"
        elif begin > now:
            yield f"{name} is not valid before {said(begin)}"
        elif end - now < min((end - begin) / _LAST_PART, _LONGEST_WARNING):
            yield f"{name} expires soon, at {said(end)}, and nothing has renewed it yet"


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
