"""JWK Sets: which keys are used, which are refused and why, and what a key verifies."""

import json
from base64 import b64encode
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from authz.core.jose.jwk import Key, KeySetError, KeyVerifyError, parse_key_set, usable_keys
from support.jwks import (
    ALL,
    PRIVATE,
    RSA_ALGORITHMS,
    certified,
    jwk,
    method,
    number,
    parse,
    refusal,
)


@pytest.mark.parametrize(
    ("algorithm", "can"),
    [
        ("ES256", {"ES256"}),
        ("ES384", {"ES384"}),
        ("ES512", {"ES512"}),
        ("RS256", RSA_ALGORITHMS),
        ("EdDSA", {"EdDSA", "Ed25519"}),
    ],
)
def test_what_a_key_can(algorithm: str, can: set[str]) -> None:
    """A key may verify what its type can, what the issuer may use, and what its own alg says."""
    one = min(can)

    assert parse(jwk(algorithm))[0]["k"].algorithms == can
    assert parse(jwk(algorithm), algorithms=frozenset({one, "X"}))[0]["k"].algorithms == {one}
    assert parse(jwk(algorithm, alg=one))[0]["k"].algorithms == {one}
    assert parse(jwk(algorithm, use="sig", key_ops=["verify"]))[0]["k"].algorithms == can
    with pytest.raises(KeySetError, match="algorithms"):
        parse(jwk(algorithm, alg=one), algorithms=ALL - {one})


@pytest.mark.parametrize(
    ("key", "why"),
    [
        (5, "object"),
        (None, "object"),
        ([], "object"),
        ({}, "kid"),
        (jwk(kid=...), "kid"),
        (jwk(kid=""), "kid"),
        (jwk(kid=1), "kid"),
        (jwk(kid="k" * 257), "kid"),
        ({"kty": "oct", "k": "AAAA", "kid": "k"}, "symmetric"),
        *[(jwk("RS256", **{name: "AQAB"}), "private") for name in "d p q dp dq qi k oth".split()],  # noqa: SIM905 - easier to read
        (jwk(use="enc"), "use"),
        (jwk(use="SIG"), "use"),
        (jwk(use=[]), "use"),
        (jwk(key_ops=[]), "key_ops"),
        (jwk(key_ops=["sign", "encrypt"]), "key_ops"),
        (jwk(key_ops="verify"), "key_ops"),
        (jwk(alg="ES384"), "algorithms"),
        (jwk(alg="es256"), "algorithms"),
        (jwk(alg="none"), "algorithms"),
        (jwk(alg=["ES256"]), "algorithms"),
        (jwk(kty="ec"), "kind"),
        (jwk(kty=...), "kind"),
        (jwk(kty=[]), "kind"),
        (jwk(crv="secp256k1"), "curve"),
        (jwk(crv=["P-256"]), "curve"),
        (jwk(crv="P-384"), "numbers"),
        (jwk(x=jwk()["y"]), "numbers"),
        (jwk(x=...), "numbers"),
        (jwk(x="é"), "numbers"),
        (jwk(x={}), "numbers"),
        (jwk("EdDSA", crv="X25519"), "curve"),
        (jwk("EdDSA", x="AAAA"), "numbers"),
        (jwk("RS256", n=number(3**500)), "793"),
        (jwk("RS256", n=number(2**1535 + 1)), "1536"),
        (jwk("RS256", n=number(2**2046 + 1)), "2047"),
        (jwk("RS256", n=number(2**8192 + 1)), "8193"),
        (jwk("RS256", n=""), "numbers"),
        (jwk("RS256", n=7), "numbers"),
        (jwk("RS256", e=number(1)), "numbers"),
        (jwk("RS256", e=number(3)), "exponent"),
        (jwk("RS256", e=number(65539 - 1)), "exponent|numbers"),
        (jwk("RS256", e=number(2**64 + 1)), "exponent"),
    ],
)
def test_refused(key: Any, why: str) -> None:
    """A key that can't be used is named with its fault, and spoils no other."""
    name, told = refusal(key)
    has_name = isinstance(key, dict) and key.get("kid") == "k"

    assert name == ("k" if has_name else "[1]")
    assert any(word in told for word in why.split("|"))


def test_refusals_name_no_key_material() -> None:
    """The text of a refusal holds none of the key, nor does a key's repr."""
    weak = jwk("RS256", n=number(2**1535 + 1))
    good = parse(jwk(), weak | {"kid": "w"})

    assert weak["n"][:20] not in str(good[1])
    assert repr(good[0]["k"]) == "Key(key_id='k', algorithms=frozenset({'ES256'}))"


OTHER = ec.generate_private_key(ec.SECP256R1())
DIFFERENT = method("ES256").to_jwk(OTHER.public_key(), as_dict=True)


@pytest.mark.parametrize(
    "other",
    [
        jwk(use="enc"),
        jwk("RS256"),
        jwk(x=DIFFERENT["x"], y=DIFFERENT["y"]),
        jwk(crv="P-384"),
        jwk(d="AQAB"),
        jwk(kty="oct", k="AQAB"),
    ],
    ids=["another use", "another kind", "another point", "another curve", "private", "symmetric"],
)
@pytest.mark.parametrize("is_first", [False, True])
def test_doubled_kid(other: Any, is_first: bool) -> None:  # noqa: FBT001 - a table
    """Two keys of one kid are both refused, though one of them could not be used anyway."""
    two = [other, jwk()] if is_first else [jwk(), other]
    keys, refused = parse(*two, jwk(kid="good"))

    assert set(keys) == {"good"}
    assert [name for name, _ in refused] == ["k", "k"]


def test_a_key_that_is_listed_again_is_one() -> None:
    """The same key under the same kid is one key, for the algorithms of all its entries."""
    again, refused = parse(jwk(), jwk(use="sig", more=1), jwk(alg="ES256"))
    assert (set(again), refused) == ({"k"}, ())

    each = ("RS512", "RS256", "PS256")
    keys, refused = parse(*(jwk("RS256", alg=alg) for alg in each))
    assert keys["k"].algorithms == set(each)
    assert refused == ()
    for algorithm in each:
        keys["k"].verify(algorithm, b"data", pair(algorithm)[1])
    with pytest.raises(KeyVerifyError):
        keys["k"].verify("RS384", b"data", pair("RS384")[1])

    some, refused = parse(jwk("RS256", alg="RS256"), jwk("RS256", alg="RSA-OAEP"))
    assert some["k"].algorithms == {"RS256"}
    assert [name for name, _ in refused] == ["k"]


def test_a_key_listed_again_is_another_version() -> None:
    """A kid whose key gains an algorithm by a further entry has another thumbprint."""
    one, both = jwk("RS256", alg="RS256"), jwk("RS256", alg="RS512")

    assert parse(one)[0]["k"].thumbprint != parse(one, both)[0]["k"].thumbprint
    assert parse(one, both)[0]["k"].thumbprint == parse(both, one)[0]["k"].thumbprint


ABSENT = "use key_ops alg x5c x5t x5u d p q dp dq qi oth k crv y".split()  # noqa: SIM905 - easier to read


@pytest.mark.parametrize("members", [*[[name] for name in ABSENT], ABSENT], ids=str)
def test_null_is_absent(members: list[str]) -> None:
    """A member that is null is not there, be it a private key's; nor are others in its place."""
    nulls = dict.fromkeys(members)
    keys, refused = parse(jwk("RS256", **nulls), jwk("RS256", **{**nulls, "alg": "RS256"}))

    assert keys["k"].algorithms == RSA_ALGORITHMS
    assert refused == ()
    assert parse(jwk("RS256", oth=[], x5c=[], key_ops=["verify"], d="", k=""))[0]["k"]
    assert refusal(jwk("RS256", n=None)) == ("k", "its numbers are not a valid key")
    assert refusal(jwk(kid=None)) == ("[1]", "its kid is missing or too long")


@pytest.mark.parametrize("value", ["AQAB", ["AQAB"], [{}], {}, 0, False, " "], ids=repr)
@pytest.mark.parametrize("name", ["d", "p", "oth"])
def test_a_private_member_with_any_value(name: str, value: Any) -> None:
    """A private key's member that holds anything makes the key a private one."""
    assert "private" in refusal(jwk("RS256", **{name: value}))[1]


def test_expected_use() -> None:
    """Sets of another kind name their keys' use, and a key without one is not theirs."""
    listed = [jwk(kid="a", use="jwt-svid"), jwk(kid="b"), jwk(kid="c", use="sig")]
    keys, refused = usable_keys(listed, ALL, "jwt-svid")

    assert set(keys) == {"a"}
    assert {name for name, _ in refused} == {"b", "c"}


def test_unknown_members_are_ignored() -> None:
    """Members that are not ours to know are no fault, of the set or of a key (RFC 7517)."""
    document = {"keys": [jwk(x5c=["AAAA"], nbf=5)], "spiffe_sequence": 4, "more": {"a": [1]}}

    assert set(parse_key_set(json.dumps(document).encode(), ALL)[0]) == {"k"}


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"5",
        b'{"keys":[]}',
        b'{"keys":{}}',
        b'{"keys":null}',
        b'{"Keys":[]}',
        b'{"keys":[1,"a",null]}',
        b"<html>",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"keys":[],"keys":[]}',
        b'{"keys":[' + b"9" * 10_000 + b"]}",
        json.dumps({"keys": [jwk(kid=str(n)) for n in range(101)]}).encode(),
        json.dumps({"keys": [jwk()]}).encode() + b" " * (256 * 1024),
    ],
)
def test_no_key_set(document: bytes) -> None:
    """A document without a usable key, or beyond the limits, is refused as a whole."""
    with pytest.raises(KeySetError) as caught:
        parse_key_set(document, ALL)

    assert len(str(caught.value)) < 120


def test_a_hundred_keys() -> None:
    """The limits themselves are allowed."""
    assert len(parse(*(jwk(kid=str(n).rjust(256, "k")) for n in range(100)))[0]) == 100


def test_thumbprints_tell_keys_apart() -> None:
    """The thumbprint changes with the key and with its algorithms, not with how it is written."""
    first = parse(jwk())[0]["k"].thumbprint
    again = parse(jwk(use="sig", alg="ES256", more=1, kid="k2"))[0]["k2"].thumbprint
    rsa_one = parse(jwk("RS256"))[0]["k"].thumbprint
    rsa_two = parse(jwk("RS256", alg="PS256"))[0]["k"].thumbprint

    assert first == again
    assert len({first, rsa_one, rsa_two}) == 3


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
MEMBERS = {
    "kid": st.sampled_from(["a", "b"]) | JSON,
    "kty": st.sampled_from(["EC", "RSA", "OKP", "oct"]) | JSON,
    "crv": st.sampled_from(["P-256", "P-384", "P-521", "Ed25519", "X25519"]) | JSON,
    **{name: st.sampled_from(["AQAB", jwk()["x"], jwk("RS256")["n"]]) | JSON for name in "xyne"},
    "use": st.just("sig") | JSON,
    "alg": st.sampled_from(sorted(ALL)) | JSON,
    "key_ops": st.just(["verify"]) | JSON,
    "d": JSON,
    "x5c": st.sampled_from([certified(name)["x5c"] for name in ("RS256", "ES256", "EdDSA")])
    | st.binary(max_size=50).map(lambda der: [b64encode(der).decode()])
    | JSON,
    "issuer": st.sampled_from(["https://a/t", "https://a/{tenantid}", "https://[{tenantid}"])
    | JSON,
}
REQUIRED = {name: MEMBERS.pop(name) for name in ("kid", "kty")}
HOSTILE = st.fixed_dictionaries(REQUIRED, optional=MEMBERS)


@given(st.lists(HOSTILE | JSON, max_size=4) | JSON)
def test_any_key_set(listed: Any) -> None:
    """Any JSON is a key set or refused; whatever comes out of it is accounted for."""
    try:
        keys, refused = parse_key_set(json.dumps({"keys": listed}).encode(), ALL, "https://a/t")
    except KeySetError:
        return
    assert keys
    kids = [one["kid"] for one in listed if isinstance(one, dict) and one.get("kid") in keys]
    assert len(listed) - (len(kids) - len(set(kids))) <= len(keys) + len(refused) <= len(listed)
    assert all(key.algorithms <= ALL for key in keys.values())


@given(st.binary(max_size=200))
def test_any_bytes(document: bytes) -> None:
    """Any bytes are a key set or refused with our own error."""
    with pytest.raises(KeySetError):
        parse_key_set(document, ALL)


def pair(algorithm: str) -> tuple[Key, bytes]:
    """A key, and its signature over b"data"."""
    key: Key = parse(jwk(algorithm))[0]["k"]
    return key, method(algorithm).sign(b"data", PRIVATE[algorithm])


@pytest.mark.parametrize("algorithm", sorted(ALL))
def test_verify(algorithm: str) -> None:
    """A key verifies what its private half signed, and nothing that differs in any way."""
    key, signature = pair(algorithm)
    key.verify(algorithm, b"data", signature)

    flipped = bytes([signature[0] ^ 1]) + signature[1:]
    for data, bad in (
        (b"Data", signature),
        (b"", signature),
        (b"data", flipped),
        (b"data", signature[:-1]),
        (b"data", signature + b"\0"),
        (b"data", b"\0" + signature),
        (b"data", b""),
        (b"data", bytes(len(signature))),
        (b"data", b"\xff" * len(signature)),
    ):
        with pytest.raises(KeyVerifyError):
            key.verify(algorithm, data, bad)


def test_verify_takes_its_own_algorithms_only() -> None:
    """No algorithm but those of the key verifies anything, whatever the token names."""
    for algorithm in sorted(ALL):
        key, signature = pair(algorithm)
        for other in [*(ALL - key.algorithms), "none", "HS256", "", "ES256K", "es256"]:
            with pytest.raises(KeyVerifyError):
                key.verify(other, b"data", signature)
    narrow = parse(jwk("RS256", alg="PS256"))[0]["k"]
    with pytest.raises(KeyVerifyError):
        narrow.verify("RS256", b"data", pair("RS256")[1])


def test_both_names_of_ed25519() -> None:
    """EdDSA and Ed25519 (RFC 9864) verify alike where both are allowed."""
    key, signature = pair("EdDSA")

    key.verify("Ed25519", b"data", signature)
    key.verify("EdDSA", b"data", signature)


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512"])
def test_der_signatures_are_refused(algorithm: str) -> None:
    """An ECDSA signature is two numbers of fixed length, never DER (RFC 7518 section 3.4)."""
    key, _ = pair(algorithm)
    der = PRIVATE[algorithm].sign(b"data", ec.ECDSA(method(algorithm).hash_alg()))
    with pytest.raises(KeyVerifyError):
        key.verify(algorithm, b"data", der)


@given(st.binary(min_size=64, max_size=64))
def test_any_signature(signature: bytes) -> None:
    """Any 64 bytes are a wrong signature with our own error."""
    for algorithm in ("ES256", "EdDSA"):
        with pytest.raises(KeyVerifyError):
            parse(jwk(algorithm))[0]["k"].verify(algorithm, b"data", signature)
