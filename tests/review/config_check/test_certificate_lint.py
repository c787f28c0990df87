"""Warnings of `authz check` about certificates that TLS can load and nobody accepts."""

import datetime as dt
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from authz.cli import main
from lab.ca import Authority
from lab.mesh import GATEWAY
from support.frames import CHECK
from support.world import PATIENCE_SECONDS

SERVER: Final = "spiffe://corp.example/ns/authz/sa/authz"
DAY_SECONDS: Final = 24 * 3600.0
CONFIG: Final = """\
server:
  listen: "127.0.0.1:9191"
  tls:
    certificate: @/server.pem
    private_key: @/server.key
    client_ca: @/clients.pem
    allowed_callers: ["spiffe://corp.example/ns/gateways/sa/*"]
trust_domains: [corp.example]
issuers:
  - issuer: https://as.corp.example
    keys:
      jwks_uri: https://as.corp.example/jwks
      ca_file: @/issuer.pem
      tls:
        certificate: @/client.pem
        private_key: @/client.key
    audiences: [https://mcp.corp.example/finance]
agents:
  - {id: spiffe://corp.example/ns/agents/sa/travel, grants: [read]}
principals:
  - match: {issuer: https://as.corp.example}
    grants: [read]
grants:
  read:
    - {hosts: [mcp.corp.example], methods: [GET], paths: [/read], scopes: []}
"""
Make = Callable[[Authority], None]
Key = (
    rsa.RSAPrivateKey
    | ec.EllipticCurvePrivateKey
    | ed25519.Ed25519PrivateKey
    | ed448.Ed448PrivateKey
)
UNUSABLE_KEYS: Final[dict[str, Key]] = {
    "Ed25519": ed25519.Ed25519PrivateKey.generate(),
    "Ed448": ed448.Ed448PrivateKey.generate(),
    "P-521": ec.generate_private_key(ec.SECP521R1()),
    "secp256k1": ec.generate_private_key(ec.SECP256K1()),
}
USABLE_KEYS: Final[dict[str, Key]] = {
    "P-256": ec.generate_private_key(ec.SECP256R1()),
    "P-384": ec.generate_private_key(ec.SECP384R1()),
    "RSA": rsa.generate_private_key(65537, 2048),
}
USABLE: Final = "Envoy and gRPC take no such key in a handshake"


def put(authority: Authority, name: str, *uris: str, **options: object) -> None:
    """Issue a certificate, and put it where the config names it."""
    svid = authority.issue(*uris, **options)  # type: ignore[arg-type]
    svid.certificate_path.replace(authority.folder / f"{name}.pem")
    svid.key_path.replace(authority.folder / f"{name}.key")


def server(**options: object) -> Make:
    """Replace the server's certificate by one that differs from it so."""
    names = options.pop("uris", (SERVER,))
    return lambda authority: put(authority, "server", *names, **options)  # type: ignore[misc]


def client(**options: object) -> Make:
    """Replace the certificate that is shown to the issuer."""
    return lambda authority: put(authority, "client", SERVER, **options)


def trusting(name: str, *makers: Callable[[Authority], bytes]) -> Make:
    """Replace a file of CAs by those that are made."""

    def write(authority: Authority) -> None:
        (authority.folder / name).write_bytes(b"".join(make(authority) for make in makers))

    return write


def ended_ca(authority: Authority) -> bytes:
    """A CA whose time is over."""
    return Authority(authority.folder / "old", "old", -60).path.read_bytes()


def fresh_ca(authority: Authority) -> bytes:
    """A CA that is in use."""
    return authority.path.read_bytes()


def leaf(authority: Authority) -> bytes:
    """A certificate that is no CA, and no SVID."""
    return authority.issue(dns=("gateway",)).certificate_path.read_bytes()


def pinned(authority: Authority) -> bytes:
    """A proxy's own certificate, which is trusted by itself."""
    return authority.issue(GATEWAY).certificate_path.read_bytes()


def with_key(key: Key) -> Make:
    """Replace the server's certificate by one that it signed itself, with this key."""

    def write(authority: Authority) -> None:
        now, nobody = dt.datetime.now(dt.UTC), x509.Name([])
        is_edwards = not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(SERVER)])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(nobody)
            .issuer_name(nobody)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(names, critical=False)
            .sign(key, None if is_edwards else hashes.SHA256())
        )
        folder = authority.folder
        (folder / "server.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
        (folder / "server.key").write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )

    return write


def behind_an_ended_ca(authority: Authority) -> None:
    """Add an intermediate whose time is over to the server's certificate."""
    path = authority.folder / "server.pem"
    path.write_bytes(path.read_bytes() + ended_ca(authority))


DOUBTS: Final[dict[str, tuple[Make, str, str]]] = {
    "an expired certificate": (
        server(starts_in_seconds=-DAY_SECONDS, lifetime_seconds=DAY_SECONDS - 60),
        "certificate: @/server.pem",
        "it expired at ",
    ),
    "one that begins later": (
        server(starts_in_seconds=3600),
        "certificate: @/server.pem",
        "it is not valid before ",
    ),
    "one that ends soon": (
        server(starts_in_seconds=-80 * DAY_SECONDS, lifetime_seconds=85 * DAY_SECONDS),
        "certificate: @/server.pem",
        "it expires soon, at ",
    ),
    "a short one that ends soon": (
        server(starts_in_seconds=-3500, lifetime_seconds=3600),
        "certificate: @/server.pem",
        "it expires soon, at ",
    ),
    "an expired intermediate": (
        behind_an_ended_ca,
        "certificate: @/server.pem",
        "its intermediate 1 expired at ",
    ),
    **{
        f"a key of {name}": (with_key(key), "certificate: @/server.pem", USABLE)
        for name, key in UNUSABLE_KEYS.items()
    },
    "one without names": (
        server(uris=(), common_name="authz"),
        "certificate: @/server.pem",
        "it has no subject alternative name",
    ),
    "one for clients": (
        server(usages=(ExtendedKeyUsageOID.CLIENT_AUTH,)),
        "certificate: @/server.pem",
        "it is not for server authentication",
    ),
    "an expired CA": (
        trusting("clients.pem", ended_ca),
        "client_ca: @/clients.pem",
        "its certificate can't vouch for a caller, so that no proxy may ask: it expired at ",
    ),
    "no CA": (
        trusting("clients.pem", leaf, ended_ca),
        "client_ca: @/clients.pem",
        "none of its 2 certificates can vouch for a caller, so that no proxy may ask: it is not",
    ),
    "a client certificate that expired": (
        client(starts_in_seconds=-DAY_SECONDS, lifetime_seconds=DAY_SECONDS - 60),
        "certificate: @/client.pem",
        "issuers[0].keys.tls.certificate: it expired at ",
    ),
    "a client certificate of a server": (
        client(usages=(ExtendedKeyUsageOID.SERVER_AUTH,)),
        "certificate: @/client.pem",
        "issuers[0].keys.tls.certificate: it is not for client authentication",
    ),
    "an issuer's expired CA": (
        trusting("issuer.pem", ended_ca),
        "ca_file: @/issuer.pem",
        "issuers[0].keys.ca_file: all of its certificates have expired",
    ),
}
FINE: Final[dict[str, Make]] = {
    "as it is": lambda _: None,
    "a short life": server(lifetime_seconds=3600),
    "a long life": server(starts_in_seconds=-700 * DAY_SECONDS, lifetime_seconds=730 * DAY_SECONDS),
    "a DNS name": server(uris=(), dns=("authz.corp.example",)),
    "no extended key usage": server(usages=()),
    "any extended key usage": server(usages=(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)),
    **{f"a key of {name}": with_key(key) for name, key in USABLE_KEYS.items()},
    "an old CA beside a new one": trusting("clients.pem", ended_ca, fresh_ca),
    "a proxy's own certificate": trusting("clients.pem", pinned),
    "an issuer's old CA beside a new one": trusting("issuer.pem", ended_ca, fresh_ca),
}


def warned(
    make: Make, folder: Path, capsys: pytest.CaptureFixture[str]
) -> tuple[list[str], list[str]]:
    """The warnings about a config with these certificates, and the config's lines."""
    authority = Authority(folder)
    put(authority, "server", SERVER)
    put(authority, "client", SERVER)
    for name in ("clients.pem", "issuer.pem"):
        (folder / name).write_bytes(authority.path.read_bytes())
    make(authority)
    path = folder / "authz.yaml"
    path.write_text(CONFIG.replace("@", str(folder)))
    assert main(["check", str(path)]) == 0
    return capsys.readouterr().err.splitlines(), [line.strip() for line in CONFIG.splitlines()]


@pytest.mark.parametrize("name", DOUBTS)
def test_certificates_that_nobody_accepts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """Each is one warning, at the line that names the file."""
    make, place, words = DOUBTS[name]
    (warning,), lines = warned(make, tmp_path, capsys)

    assert words in warning
    assert warning.startswith(f"warning: {tmp_path}/authz.yaml:{lines.index(place) + 1}: ")


@pytest.mark.parametrize("name", FINE)
def test_certificates_that_are_accepted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """What a proxy takes, and what is renewed in time, is no reason to warn."""
    assert warned(FINE[name], tmp_path, capsys)[0] == []


@pytest.mark.parametrize("name", [*UNUSABLE_KEYS, *USABLE_KEYS])
def test_keys_as_boringssl_takes_them(tmp_path: Path, name: str) -> None:
    """GRPC's library shakes hands with just those servers whose keys are no reason to warn."""
    with_key({**UNUSABLE_KEYS, **USABLE_KEYS}[name])(Authority(tmp_path))
    certificate = tmp_path / "server.pem"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, tmp_path / "server.key")
    context.set_alpn_protocols(["h2"])
    credentials = grpc.ssl_channel_credentials(certificate.read_bytes())
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        listening.settimeout(PATIENCE_SECONDS)
        with grpc.secure_channel(address, credentials) as channel:
            check = channel.unary_unary(CHECK, bytes, bytes)
            call: grpc.Future[bytes] = check.future(b"", wait_for_ready=True)
            taken = _shakes_hands(context, listening)
            call.cancel()

    assert taken is (name in USABLE_KEYS)


def _shakes_hands(context: ssl.SSLContext, listening: socket.socket) -> bool:
    """Tell whether the next client goes on after it has seen our key."""
    connection, _ = listening.accept()
    try:
        context.wrap_socket(connection, server_side=True).close()
    except OSError:
        return False
    finally:
        connection.close()
    return True
