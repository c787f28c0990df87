"""What operators are told who name a file that holds something else than what is wanted."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from authz.adapters.tls import ServerTls, TlsError
from authz.adapters.tls_settings import TlsSettings
from lab.ca import Authority

SERVER = "spiffe://corp.example/authz"
KEYS = ("certificate", "private_key", "client_ca")


class Pair:
    """A certificate, its key, and the CA that issued it, in files."""

    def __init__(self, folder: Path) -> None:
        """Issue them."""
        self.authority = Authority(folder)
        self.svid = self.authority.issue(SERVER)
        key = load_pem_private_key(self.svid.key_path.read_bytes(), None)
        assert isinstance(key, EllipticCurvePrivateKey)
        self.key = key
        self.files = dict(
            zip(
                KEYS,
                (self.svid.certificate_path, self.svid.key_path, self.authority.path),
                strict=True,
            )
        )

    def refusal(self, key: str, data: bytes) -> str:
        """Return what is told where a setting's file holds this, with the path as X."""
        path = self.svid.key_path.parent / "odd"
        path.write_bytes(data)
        named = {**self.files, key: path}
        with pytest.raises(TlsError) as caught:
            ServerTls(
                TlsSettings(**{k: str(v) for k, v in named.items()}, allowed_callers=(SERVER,))
            )
        return str(caught.value).replace(str(path), "X")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """A good pair of files."""
    return Pair(tmp_path_factory.mktemp("tls"))


def request_of(pair: Pair) -> bytes:
    """Make a certificate request."""
    made = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return made.sign(pair.key, hashes.SHA256()).public_bytes(Encoding.PEM)


def encrypted(pair: Pair) -> bytes:
    """Give the key a passphrase."""
    form = (Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"phrase"))
    return pair.key.private_bytes(*form)


def public_key(pair: Pair) -> bytes:
    """Return the public key in PEM."""
    form = (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pair.key.public_key().public_bytes(*form)


def its_key(pair: Pair) -> bytes:
    """Return the private key's file."""
    return pair.svid.key_path.read_bytes()


def its_certificate(pair: Pair) -> bytes:
    """Return the certificate's file."""
    return pair.svid.certificate_path.read_bytes()


def ca_first(pair: Pair) -> bytes:
    """Return the chain in the wrong order."""
    return pair.authority.path.read_bytes() + its_certificate(pair)


# The setting, what its file holds, and what is told: what the file X holds, and the cure.
ODD: list[tuple[str, Callable[[Pair], bytes], str, str]] = [
    ("certificate", request_of, "X holds a certificate request", "the CA makes the certificate"),
    ("certificate", public_key, "X holds a public key", "the certificate comes from the CA"),
    ("certificate", its_key, "X holds a private key", "name the file with a certificate in PEM"),
    (
        "certificate",
        lambda p: p.svid.certificate.public_bytes(Encoding.DER),
        "X holds DER",
        "openssl",
    ),
    ("certificate", lambda _: json.dumps({"kty": "EC"}).encode(), "X holds a JWK", "as PEM"),
    ("certificate", lambda _: b"", "X holds nothing", "name the file with a certificate in PEM"),
    ("certificate", lambda p: its_certificate(p)[:200], "can't be read", "is it cut, or edited?"),
    ("certificate", ca_first, "X begins with a CA's certificate", "put the server's own first"),
    ("private_key", its_certificate, "X holds a certificate", "with a private key in PEM"),
    ("private_key", encrypted, "X holds an encrypted private key", "decrypt it"),
    ("private_key", public_key, "X holds a public key", "the private key is in another file"),
    (
        "private_key",
        lambda _: json.dumps({"kty": "EC"}).encode(),
        "X holds a JWK",
        "write it as PEM",
    ),
    ("client_ca", its_key, "X holds a private key", "name the file with a certificate in PEM"),
    ("client_ca", request_of, "X holds a certificate request", "the CA makes the certificate"),
]


@pytest.mark.parametrize(("key", "make", "cause", "cure"), ODD)
def test_a_file_of_another_kind(
    pair: Pair, key: str, make: Callable[[Pair], bytes], cause: str, cure: str
) -> None:
    """What a file holds in place of what is wanted is told, with its setting and the cure."""
    told = pair.refusal(key, make(pair))

    assert told.startswith(f"server.tls.{key}: ")
    assert cause in told
    assert cure in told


def test_swapped_files(pair: Pair) -> None:
    """A certificate and a key in each other's place are told as swapped."""
    files = {"certificate": pair.svid.key_path, "private_key": pair.svid.certificate_path}
    named = {key: str(path) for key, path in {**pair.files, **files}.items()}
    with pytest.raises(TlsError) as caught:
        ServerTls(TlsSettings(**named, allowed_callers=(SERVER,)))

    assert str(caught.value) == (
        f"server.tls.certificate: {pair.svid.key_path} holds a private key; "
        "is private_key swapped with it?"
    )
    assert caught.value.key == "certificate"


def test_the_key_of_another_certificate(pair: Pair) -> None:
    """A key of another certificate is told, with both files."""
    told = pair.refusal("private_key", pair.authority.issue(SERVER).key_path.read_bytes())

    assert "server.tls.private_key: X does not belong to the certificate in " in told
    assert str(pair.svid.certificate_path) in told
