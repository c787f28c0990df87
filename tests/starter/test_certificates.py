"""The certificates that are made for trying: valid X509-SVIDs, for a month."""

import ssl
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store

from authz.core.reason import Denied
from authz.core.spiffe.svid import checked_svid
from authz.starter.ca import LIFETIME, TryOutAuthority

NOW = datetime(2026, 11, 25, 10, 0, tzinfo=UTC)
TRAVEL = "spiffe://corp.example/ns/agents/sa/travel"


def test_an_agents_svid() -> None:
    """The server takes an agent's certificate: one URI name, and valid for a month."""
    svid = TryOutAuthority("corp.example", NOW).issue("travel", TRAVEL)
    text = svid.certificate.decode()

    assert checked_svid(text, NOW.timestamp(), "x").uris == (TRAVEL,)
    with pytest.raises(Denied, match="expired"):
        checked_svid(text, (NOW + LIFETIME).timestamp(), "x")


def test_certificates_are_verified_by_the_strictest_rules() -> None:
    """A client that is strict about RFC 5280 trusts Envoy's certificate by the CA."""
    authority = TryOutAuthority("corp.example", NOW)
    leaf = authority.issue("envoy", f"{TRAVEL}/envoy", ("localhost", "127.0.0.1"))
    root = x509.load_pem_x509_certificate(authority.certificate)
    verifier = PolicyBuilder().store(Store([root])).time(NOW).build_server_verifier

    certificate = x509.load_pem_x509_certificate(leaf.certificate)
    for name in (x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))):
        assert len(verifier(name).verify(certificate, [])) == 2


def test_a_key_fits_its_certificate(tmp_path: Path) -> None:
    """A TLS library loads the certificate with its key."""
    svid = TryOutAuthority("corp.example", NOW).issue("travel", TRAVEL)
    (tmp_path / "a.pem").write_bytes(svid.certificate)
    (tmp_path / "a.key").write_bytes(svid.key)

    ssl.create_default_context().load_cert_chain(tmp_path / "a.pem", tmp_path / "a.key")
