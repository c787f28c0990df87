"""Keys in certificates: a JWK may hold its key in x5c alone, and never two different keys."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x25519

from authz.core.jose.jwk import KeySetError, proof_key
from authz.core.jose.x5c import MAX_CERTIFICATE_CHARS
from support.jwks import ALL, PRIVATE, certified, jwk, parse, refusal, x5c

KINDS = ["RS256", "ES256", "ES384", "ES512", "EdDSA"]
OTHER = {
    "rsa": rsa.generate_private_key(65537, 2048).public_key(),
    "ec": ec.generate_private_key(ec.SECP256R1()).public_key(),
    "unsupported curve": ec.generate_private_key(ec.SECP256K1()).public_key(),
    "key agreement": x25519.X25519PrivateKey.generate().public_key(),
}


@pytest.mark.parametrize("algorithm", KINDS)
def test_only_a_certificate(algorithm: str) -> None:
    """A key in a certificate alone is the key that it would be by its numbers."""
    keys, refused = parse(certified(algorithm))

    assert refused == ()
    assert keys["k"].thumbprint == parse(jwk(algorithm))[0]["k"].thumbprint
    assert parse(certified(algorithm, crv=...))[0]["k"] == keys["k"]
    assert parse(certified(algorithm, n=None, e=None, x=None, y=None))[0]["k"] == keys["k"]


@pytest.mark.parametrize("algorithm", KINDS)
def test_both(algorithm: str) -> None:
    """Numbers and a certificate of the same key are fine; the rest of the chain does not count."""
    public = PRIVATE[algorithm].public_key()
    chain = [x5c(public), x5c(OTHER["rsa"]), "no certificate"]

    assert parse(jwk(algorithm, x5c=chain))[0]["k"] == parse(jwk(algorithm))[0]["k"]
    assert parse(certified(algorithm, x5c=chain))[0]["k"] == parse(jwk(algorithm))[0]["k"]


@pytest.mark.parametrize("other", OTHER)
@pytest.mark.parametrize("algorithm", KINDS)
def test_a_certificate_of_another_key(algorithm: str, other: str) -> None:
    """A certificate of another key, of whatever kind, makes the entry unusable."""
    told = refusal(jwk(algorithm, x5c=[x5c(OTHER[other])]))

    assert told == ("k", "its certificate (x5c) is of another key")


@pytest.mark.parametrize("days", [-30, 3650])
def test_dates_do_not_count(days: int) -> None:
    """A certificate that has ended holds its key as well as before."""
    public = PRIVATE["RS256"].public_key()

    assert parse(certified(x5c=[x5c(public, days)]))[0]["k"].algorithms
    assert parse(jwk("RS256", x5c=[x5c(public, days)]))[0]["k"].algorithms


GOOD = x5c(PRIVATE["RS256"].public_key())


NO_CERTIFICATE: dict[str, Any] = {
    "empty": [],
    "an object": {},
    "no text": "",
    "a number": 5,
    "no list": GOOD,
    "null": [None],
    "a number in it": [5],
    "a list in it": [[GOOD]],
    "no DER": ["AAAA"],
    "nothing in it": [""],
    "cut": [GOOD[:-8]],
    "no ASCII": ["é"],
    "a space": [" "],
    "PEM": [f"-----BEGIN CERTIFICATE-----{GOOD}"],
    "base64url": [f"{GOOD[:40]}-{GOOD[41:]}"],
    "too long": ["A" * (MAX_CERTIFICATE_CHARS + 1)],
}


@pytest.mark.parametrize("why", NO_CERTIFICATE)
def test_no_certificate(why: str) -> None:
    """What can't be read as a certificate is no key, and says nothing about a key beside it."""
    chain = NO_CERTIFICATE[why]

    assert refusal(certified(x5c=chain)) == ("k", "its numbers are not a valid key")
    assert parse(jwk("RS256", x5c=chain))[0]["k"].algorithms


@pytest.mark.parametrize(
    ("key", "why"),
    [
        (certified(kty="EC", crv="P-256"), "numbers"),
        (certified("ES256", kty="RSA"), "numbers"),
        (certified("ES256", crv="P-384"), "numbers"),
        (certified("EdDSA", crv="X25519"), "curve"),
        (certified(kty=...), "kind"),
        (certified(kty=[]), "kind"),
        (certified(kty="oct"), "symmetric"),
        (certified(d="AQAB"), "private"),
        (certified(e="AQAB"), "numbers"),
        (certified("ES256", x=jwk("ES256")["x"]), "numbers"),
        (certified(x5c=[x5c(rsa.generate_private_key(65537, 1024).public_key())]), "1024"),
        (certified(x5c=[x5c(OTHER["key agreement"])]), "numbers"),
        (certified("ES256", x5c=[x5c(OTHER["unsupported curve"])]), "numbers"),
        (certified(alg="ES256"), "algorithms"),
        (certified(use="enc"), "use"),
    ],
)
def test_refused(key: dict[str, Any], why: str) -> None:
    """A certificate makes no key usable that its numbers would not, nor completes half a key."""
    assert why in refusal(key)[1]


def test_one_key_in_two_forms() -> None:
    """The same key by its numbers and by its certificate is listed twice, not two keys."""
    keys, refused = parse(jwk("RS256", alg="RS256"), certified(alg="RS512"))
    assert (keys["k"].algorithms, refused) == ({"RS256", "RS512"}, ())

    keys, refused = parse(jwk("RS256"), certified(x5c=[x5c(OTHER["rsa"])]), jwk(kid="good"))
    assert set(keys) == {"good"}
    assert [name for name, _ in refused] == ["k", "k"]


def test_not_in_a_proof() -> None:
    """A proof's key has its numbers: its thumbprint is over them (RFC 7638)."""
    with pytest.raises(KeySetError, match="numbers"):
        proof_key(certified(), ALL)
