"""Tokens for trying: what they say, and which keys sign none."""

import json
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from authz.core.jose.jwk import parse_key_set
from authz.starter.errors import StarterError
from authz.starter.issuer import TryOutIssuer
from authz.starter.marks import KEY_ID_PREFIX, TRY_OUT_ISSUER, has_try_out_key
from authz.starter.tokens import TokenRequest, make_token

TRAVEL = "spiffe://corp.example/ns/agents/sa/travel"
OTHER = "spiffe://other.example/agent"
NOW = 1_795_000_000.0
ASKED = TokenRequest("travel", "alice", ("a:b", "c"), ("staff",))


@pytest.fixture(scope="module")
def issuer() -> TryOutIssuer:
    """An issuer with one agent."""
    return TryOutIssuer.make("https://localhost:8443", {"travel": TRAVEL})


def claims_of(issuer: TryOutIssuer, request: TokenRequest) -> dict[str, Any]:
    """Verify a new token with the published key, and return its claims."""
    token = make_token(issuer, request, NOW)
    header = jwt.get_unverified_header(token)
    keys, refused = parse_key_set(issuer.jwks(), frozenset({"ES256"}))
    assert not refused
    assert header == {"alg": "ES256", "typ": "at+jwt", "kid": issuer.key_id}
    signing_input, _, signature = token.rpartition(".")
    raw = jwt.utils.base64url_decode(signature)
    keys[header["kid"]].verify("ES256", signing_input.encode(), raw)
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def test_a_token(issuer: TryOutIssuer) -> None:
    """A token has the claims of RFC 9068 and RFC 8693, and what was asked for."""
    claims = claims_of(issuer, ASKED)

    assert len(claims.pop("jti")) == 32
    assert claims == {
        "iss": TRY_OUT_ISSUER,
        "sub": "alice",
        "act": {"sub": TRAVEL},
        "aud": "https://localhost:8443",
        "client_id": "authz-token-make",
        "iat": NOW,
        "exp": NOW + 600,
        "scope": "a:b c",
        "groups": ["staff"],
    }


def test_what_can_be_chosen(issuer: TryOutIssuer) -> None:
    """Another agent's SPIFFE ID, audience and lifetime are taken; no groups are no claim."""
    asked = TokenRequest(OTHER, "bob", audience="https://other.example", lifetime_seconds=60)
    claims = claims_of(issuer, asked)

    assert (claims["act"]["sub"], claims["aud"]) == (OTHER, "https://other.example")
    assert (claims["exp"] - claims["iat"], claims["scope"]) == (60, "")
    assert "groups" not in claims


def test_a_users_own_token_names_no_actor(issuer: TryOutIssuer) -> None:
    """As a login gives it, for a token service."""
    assert "act" not in claims_of(issuer, TokenRequest(None, "alice"))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (TokenRequest("", "alice"), "'' is not one of travel, nor a SPIFFE ID"),
        (TokenRequest("travle", "alice"), "'travle' is not one of travel, nor a SPIFFE ID"),
        (TokenRequest("spiffe://a/../b", "alice"), "--agent: the path has a dot segment"),
        (TokenRequest("travel", "alice", lifetime_seconds=0), "from 1s to 1h"),
        (TokenRequest("travel", "alice", lifetime_seconds=3601), "from 1s to 1h"),
    ],
)
def test_mistakes_are_told(issuer: TryOutIssuer, asked: TokenRequest, words: str) -> None:
    """An unknown agent and too long a life make no token, and say what would be right."""
    with pytest.raises(StarterError, match=words):
        make_token(issuer, asked, NOW)


def test_the_file_of_the_key(issuer: TryOutIssuer) -> None:
    """A key that is read back signs as before; it never shows in a repr."""
    again = TryOutIssuer.parse(issuer.document())

    assert again.key_id == issuer.key_id
    assert again.jwks() == issuer.jwks()
    assert issuer.private_jwk()["d"] not in repr(again)
    assert b'"d"' not in issuer.jwks()


def foreign(kind: str) -> dict[str, Any]:
    """Return the private JWK of a key that we did not make."""
    if kind == "RSA":
        key = rsa.generate_private_key(65537, 2048)
        members = jwt.algorithms.RSAAlgorithm.to_jwk(key, as_dict=True)
    else:
        members = jwt.algorithms.ECAlgorithm.to_jwk(
            ec.generate_private_key(ec.SECP256R1()), as_dict=True
        )
    return {**members, "kid": "mine"}


FOREIGN: dict[str, Callable[[dict[str, Any]], object]] = {
    "EC": lambda _: foreign("EC"),
    "RSA": lambda _: foreign("RSA"),
    "with our marks": lambda ours: {
        **ours,
        **foreign("EC"),
        "kid": ours["kid"],
    },  # another key, with our marks
    "kid": lambda ours: {**ours, "kid": "mine"},
    "issuer": lambda ours: {**ours, "issuer": "https://as.corp.example"},
    "made_by": lambda ours: {**ours, "made_by": "somebody"},
    "no made_by": lambda ours: {name: value for name, value in ours.items() if name != "made_by"},
    "no d": lambda ours: {name: value for name, value in ours.items() if name != "d"},
    "other d": lambda ours: {**ours, "d": "AA"},
    "d is no text": lambda ours: {**ours, "d": 7},
    "agents are a list": lambda ours: {**ours, "agents": [["travel", TRAVEL]]},
    "agents are no texts": lambda ours: {**ours, "agents": {"travel": 7}},
    "no audience": lambda ours: {**ours, "audience": None},
    "a list": lambda ours: [ours],
    "a text": lambda _: "text",
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_other_keys_sign_nothing(issuer: TryOutIssuer, kind: str) -> None:
    """A key that authz init did not make is refused, whatever it claims, and the words say why."""
    document = json.dumps(FOREIGN[kind](issuer.private_jwk())).encode()
    with pytest.raises(StarterError, match="authz is not an authorization server"):
        TryOutIssuer.parse(document)


@pytest.mark.parametrize("document", [b"", b"{", b"\xff", b'{"a": 1, "a": 2}', b"-----BEGIN"])
def test_other_files_sign_nothing(document: bytes) -> None:
    """A file that is not JSON is refused in the same way."""
    with pytest.raises(StarterError, match="not a signing key that authz init made"):
        TryOutIssuer.parse(document)


def test_try_out_keys_are_known_by_their_kid(issuer: TryOutIssuer) -> None:
    """A published key is known among others; documents that are no key set have none."""
    others = [{"kid": "a"}, {}, 7, {"kid": 7}, {"kid": f"x-{KEY_ID_PREFIX}"}]
    mixed = {"keys": [*others, issuer.public_jwk()]}

    assert has_try_out_key(issuer.jwks())
    assert has_try_out_key(json.dumps(mixed).encode())
    unknown: list[object] = [{"keys": others}, {"keys": {}}, {"keys": None}, {}, [], 7]
    for document in unknown:
        assert not has_try_out_key(json.dumps(document).encode())
    assert not has_try_out_key(b"{")
