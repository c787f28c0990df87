"""DPoP (RFC 9449): each check of section 4.3, once, and nothing of a proof in any output."""

import json
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from authz import cli
from authz._pb import ext_authz_pb2 as pb
from authz.wiring.snapshot import Lookups, build_delegations
from lab.config_builder import LAB, ConfigBuilder
from lab.dpop import DpopClient, thumbprint
from lab.issuer import b64, sign_raw
from lab.mesh import TRAVEL, Mesh
from support.world import BALANCE, World, check_request, header_of, reason_of

ORIGIN = "https://mcp.corp.example"
URI = ORIGIN + BALANCE
ALGS = 'algs="ES256 PS256 Ed25519"'
_CLIENT = DpopClient()
Proof = Callable[[DpopClient, str], str | list[str] | None]


def request_of(
    world: World,
    token: str,
    proof: str | list[str] | None,
    *,
    scheme: str = "DPoP",
    raw: bool = True,
    **changes: Any,
) -> pb.CheckRequest:
    """A request with a token and a proof, as a proxy sends it: with an id and a time of its own."""
    proofs = proof if isinstance(proof, list) else [proof] if proof is not None else []
    headers = [("authorization", f"{scheme} {token}"), *(("dpop", one) for one in proofs)]
    message = check_request(world.svid, headers, raw_headers=raw, **changes)
    message.attributes.request.http.id = str(secrets.randbits(64))
    message.attributes.request.time.GetCurrentTime()
    return message


def claims(**changes: Any) -> Proof:
    """A proof whose claims are changed; what is callable is called."""
    return lambda client, token: client.proof(
        token, "GET", URI, **{k: v() if callable(v) else v for k, v in changes.items()}
    )


def header(**changes: Any) -> Proof:
    """A proof whose header is changed."""
    return lambda client, token: client.proof(token, "GET", URI, header=changes)


def uri(text: str) -> Proof:
    """A proof for another URI."""
    return lambda client, token: client.proof(token, "GET", text)


def at(seconds: float) -> Callable[[], float]:
    """So many seconds from now."""
    return lambda: int(time.time()) + seconds


def private_jwk(client: DpopClient, token: str) -> str:
    """A proof whose header shows the private key."""
    jwk = {**client.jwk, "d": b64(b"1" * 32)}
    return client.proof(token, "GET", URI, header={"jwk": jwk})


def of_another_key(client: DpopClient, token: str) -> str:
    """A proof that shows the client's key, and is signed by another."""
    return DpopClient().proof(token, "GET", URI, header={"jwk": client.jwk})


def doubled_member(client: DpopClient, token: str) -> str:
    """A proof whose payload has a member twice."""
    good = json.dumps({"jti": "a", "htm": "GET", "htu": URI, "iat": int(time.time())})
    ath = b64(sha256(token.encode()).digest())
    body = f'{good[:-1]}, "ath": "x", "ath": "{ath}"}}'
    head = json.dumps({"typ": "dpop+jwt", "alg": "ES256", "jwk": client.jwk})
    return sign_raw(client.key, head.encode(), body.encode())


PROOFS: dict[str, tuple[Proof, str]] = {
    "good": (claims(), "allow"),
    "1 none": (lambda _, __: None, "pop_missing"),
    "1 empty": (lambda _, __: "", "pop_missing"),
    "1 two": (lambda c, t: [c.proof(t, "GET", URI), c.proof(t, "GET", URI)], "dpop_proof"),
    "1 one and garbage": (lambda c, t: [c.proof(t, "GET", URI), "x"], "dpop_proof"),
    "2 garbage": (lambda _, __: "x", "dpop_proof"),
    "2 two parts": (lambda c, t: c.proof(t, "GET", URI).rpartition(".")[0], "dpop_proof"),
    "2 padded": (lambda c, t: c.proof(t, "GET", URI) + "=", "dpop_proof"),
    "2 too large": (claims(extra="x" * 5000), "dpop_proof"),
    "2 doubled member": (doubled_member, "dpop_proof"),
    "2 the token itself": (lambda _, token: token, "dpop_proof"),
    "3 no jti": (claims(jti=None), "dpop_proof"),
    "3 jti empty": (claims(jti=""), "dpop_proof"),
    "3 jti a number": (claims(jti=1), "dpop_proof"),
    "3 jti long": (claims(jti="x" * 257), "dpop_proof"),
    "3 no htm": (claims(htm=None), "dpop_proof"),
    "3 no htu": (claims(htu=None), "dpop_proof"),
    "3 no iat": (claims(iat=None), "dpop_proof"),
    "3 no ath": (claims(ath=None), "dpop_proof"),
    "4 no typ": (header(typ=None), "dpop_proof"),
    "4 typ JWT": (header(typ="JWT"), "dpop_proof"),
    "4 typ at+jwt": (header(typ="at+jwt"), "dpop_proof"),
    "4 typ in full": (header(typ="application/dpop+jwt"), "allow"),
    "5 none": (header(alg="none"), "dpop_proof"),
    "5 HS256": (header(alg="HS256"), "dpop_proof"),
    "5 not accepted": (header(alg="ES384"), "dpop_proof"),
    "5 not its key's": (header(alg="Ed25519"), "dpop_proof"),
    "6 of another key": (of_another_key, "dpop_proof"),
    "7 private": (private_jwk, "dpop_proof"),
    "7 symmetric": (header(jwk={"kty": "oct", "k": "AAAA"}), "dpop_proof"),
    "7 none": (header(jwk=None), "dpop_proof"),
    "7 a list": (header(jwk=[1]), "dpop_proof"),
    "7 no numbers": (header(jwk={"kty": "EC", "crv": "P-256"}), "dpop_proof"),
    "7 odd curve": (header(jwk={"kty": "EC", "crv": ["P-256"]}), "dpop_proof"),
    "7 odd kty": (header(jwk={"kty": ["EC"]}), "dpop_proof"),
    "crit": (header(crit=["exp"]), "dpop_proof"),
    "b64": (header(b64=False), "dpop_proof"),
    "8 method": (claims(htm="POST"), "dpop_proof"),
    "8 method in lower case": (claims(htm="get"), "dpop_proof"),
    "9 another host": (uri(f"https://evil.example{BALANCE}"), "dpop_proof"),
    "9 http": (uri(f"http://mcp.corp.example{BALANCE}"), "dpop_proof"),
    "9 another port": (uri(f"{ORIGIN}:8443{BALANCE}"), "dpop_proof"),
    "9 the default port": (uri(f"{ORIGIN}:443{BALANCE}"), "allow"),
    "9 capitals in the host": (uri(f"HTTPS://MCP.corp.example{BALANCE}"), "allow"),
    "9 another path": (uri(f"{ORIGIN}/finance/other"), "dpop_proof"),
    "9 no path": (uri(ORIGIN), "dpop_proof"),
    "9 a slash more": (uri(f"{URI}/"), "dpop_proof"),
    "9 a dot segment": (uri(f"{ORIGIN}/finance/./balance"), "dpop_proof"),
    "9 an escape": (uri(f"{ORIGIN}/finance/%62alance"), "allow"),
    "9 with query and fragment": (uri(f"{URI}?a=1#b"), "allow"),
    "9 user": (uri(f"https://mcp.corp.example@evil.example{BALANCE}"), "dpop_proof"),
    "9 user of ours": (uri(f"https://x@mcp.corp.example{BALANCE}"), "dpop_proof"),
    "9 backslash": (uri(f"https://mcp.corp.example\\@evil.example{BALANCE}"), "dpop_proof"),
    "9 a port that is none": (uri(f"{ORIGIN}:99999{BALANCE}"), "dpop_proof"),
    "9 relative": (uri(BALANCE), "dpop_proof"),
    "9 a number": (claims(htu=5), "dpop_proof"),
    "11 old": (claims(iat=at(-61)), "dpop_proof"),
    "11 not so old": (claims(iat=at(-50)), "allow"),
    "11 future": (claims(iat=at(10)), "dpop_proof"),
    "11 a little ahead": (claims(iat=at(3)), "allow"),
    "11 text": (claims(iat="1700000000"), "dpop_proof"),
    "11 boolean": (claims(iat=True), "dpop_proof"),
    "11 a fraction": (claims(iat=time.time), "allow"),
    "12 another token": (claims(ath=b64(b"x" * 32)), "dpop_proof"),
    "12 padded": (claims(ath="x="), "dpop_proof"),
    "12 another key": (lambda _, token: DpopClient().proof(token, "GET", URI), "cnf_mismatch"),
    "nonce that nobody asked for": (claims(nonce="x"), "allow"),
}


@pytest.mark.parametrize("raw", [False, True], ids=["headers", "header_map"])
@pytest.mark.parametrize("name", PROOFS)
def test_proof(shared_world: World, name: str, raw: bool) -> None:  # noqa: FBT001 - a parameter of cases
    """Each check refuses what it is for, with a DPoP challenge that says how proofs are made."""
    make, reason = PROOFS[name]
    client = DpopClient()
    token = shared_world.token(cnf=client.confirmation)
    answer = shared_world.check(request_of(shared_world, token, make(client, token), raw=raw))

    assert reason_of(answer) == reason
    if reason == "allow":
        assert "dpop" in answer.ok_response.headers_to_remove
    else:
        error = "invalid_dpop_proof" if reason == "dpop_proof" else "invalid_token"
        challenge = header_of(answer, "www-authenticate") or ""
        assert answer.denied_response.status.code == 401
        assert challenge.startswith(f'DPoP error="{error}", ')
        assert challenge.endswith(ALGS)


@pytest.mark.parametrize("algorithm", ["ES256", "PS256", "Ed25519"])
def test_algorithms(shared_world: World, algorithm: str) -> None:
    """Keys of every accepted kind can prove."""
    client = DpopClient(algorithm)
    token = shared_world.token(cnf=client.confirmation)

    answer = shared_world.check(request_of(shared_world, token, client.proof(token, "GET", URI)))
    assert reason_of(answer) == "allow"


def test_thumbprint_of_the_rfc() -> None:
    """The lab's own thumbprint is that of RFC 7638 section 3.1."""
    jwk = {
        "kty": "RSA",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1"
        "L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4"
        "QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbO"
        "pbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csF"
        "Cur-kEgU8awapJzKnqDKgw",
        "e": "AQAB",
        "alg": "RS256",
        "kid": "2011-04-29",
    }

    assert thumbprint(jwk) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


def test_a_bound_token_is_no_bearer_token(shared_world: World) -> None:
    """Section 7.2: a token that is bound to a key is refused as a bearer token, proof or not."""
    client = DpopClient()
    token = shared_world.token(cnf=client.confirmation)
    proof = client.proof(token, "GET", URI)
    for sent in (None, proof):
        answer = shared_world.check(request_of(shared_world, token, sent, scheme="Bearer"))

        assert reason_of(answer) == "pop_missing"
        assert (header_of(answer, "www-authenticate") or "").startswith("DPoP error=")


def test_an_unbound_token_is_no_dpop_token(shared_world: World) -> None:
    """The DPoP scheme with a token that is bound to nothing, or to a certificate only."""
    client = DpopClient()
    token = shared_world.token()
    answer = shared_world.check(request_of(shared_world, token, client.proof(token, "GET", URI)))

    assert reason_of(answer) == "cnf_mismatch"
    assert reason_of(shared_world.check(request_of(shared_world, token, None))) == "cnf_mismatch"


def test_both_schemes_in_one_request(shared_world: World) -> None:
    """Section 7.2: two ways at once are an invalid request."""
    token = shared_world.token()
    headers = [("authorization", f"Bearer {token}"), ("authorization", f"DPoP {token}")]
    for raw in (False, True):
        answer = shared_world.check(check_request(shared_world.svid, headers, raw_headers=raw))

        assert reason_of(answer) == "auth_ambiguous"
        assert answer.denied_response.status.code == 400


@pytest.mark.parametrize("scheme", ["dpop", "DPoP"])
def test_the_configured_scheme_is_written_in_any_case(tmp_path: Path, scheme: str) -> None:
    """A config's own scheme may be DPoP in any case: it asks for a proof all the same."""
    client = DpopClient()
    with World(tmp_path, LAB.with_(("token",), {"scheme": scheme})) as world:
        token = world.token(cnf=client.confirmation)
        proof = client.proof(token, "GET", URI)

        assert reason_of(world.check(request_of(world, token, proof))) == "allow"
        assert reason_of(world.check(request_of(world, world.token(), None))) == "cnf_mismatch"


@pytest.mark.parametrize("scheme", ["dpop", "DPOP", "Dpop"])
def test_the_scheme_is_written_in_any_case(shared_world: World, scheme: str) -> None:
    """As for Bearer (RFC 9110 section 11.1): each spelling asks for the proof, and takes it."""
    client = DpopClient()
    token = shared_world.token(cnf=client.confirmation)
    proof = client.proof(token, "GET", URI)

    missing = shared_world.check(request_of(shared_world, token, None, scheme=scheme))
    assert reason_of(missing) == "pop_missing"
    answer = shared_world.check(request_of(shared_world, token, proof, scheme=scheme))
    assert reason_of(answer) == "allow"


def test_the_host_header_does_not_say_what_a_proof_is_for(shared_world: World) -> None:
    """Proofs are for the configured origin, whatever name the request came under."""
    client = DpopClient()
    token = shared_world.token(cnf=client.confirmation)
    for_host = client.proof(token, "GET", f"https://evil.example{BALANCE}")

    answer = shared_world.check(request_of(shared_world, token, for_host, host="evil.example"))
    assert reason_of(answer) == "dpop_proof"


def test_without_a_resource_no_proof_can_be_checked(shared_world: World) -> None:
    """A route without a configured origin refuses bound tokens."""
    client = DpopClient()
    token = shared_world.token(cnf=client.confirmation)
    proof = client.proof(token, "GET", f"{ORIGIN}/public/x")
    answer = shared_world.check(request_of(shared_world, token, proof, path="/public/x"))

    assert reason_of(answer) == "pop_missing"


CONFIRMATIONS: list[tuple[Any, str]] = [
    ({}, "cnf_unsupported"),
    ("x", "cnf_unsupported"),
    (None, "cnf_unsupported"),
    ({"kid": "x"}, "cnf_unsupported"),
    ({"jwk": {}}, "cnf_unsupported"),
    ({"unknown": 1}, "cnf_unsupported"),
    ({"jkt": 5}, "cnf_mismatch"),
    ({"x5t#S256": "x"}, "cnf_mismatch"),
]


@pytest.mark.parametrize(("cnf", "reason"), CONFIRMATIONS)
def test_confirmations(shared_world: World, cnf: Any, reason: str) -> None:
    """A binding that can't be checked refuses, also beside a good proof (RFC 7800 3.1)."""
    client = DpopClient()
    body = {**shared_world.issuer.claims(TRAVEL, "alice", "balance:read"), "cnf": cnf}
    key = shared_world.issuer.current
    head = {"alg": key.algorithm, "kid": key.key_id, "typ": "at+jwt"}
    token = sign_raw(key, json.dumps(head).encode(), json.dumps(body).encode())
    scheme = "Bearer" if isinstance(cnf, dict) and "x5t#S256" in cnf else "DPoP"

    answer = shared_world.check(
        request_of(shared_world, token, client.proof(token, "GET", URI), scheme=scheme)
    )
    assert reason_of(answer) == reason


def test_bound_to_both(shared_world: World) -> None:
    """A token that is bound to a DPoP key and to the certificate needs both."""
    client = DpopClient()
    digest = sha256(shared_world.svid.certificate.public_bytes(Encoding.DER)).digest()
    for thumb, reason in ((b64(digest), "allow"), ("x", "cnf_mismatch")):
        token = shared_world.token(cnf={**client.confirmation, "x5t#S256": thumb})
        answer = shared_world.check(
            request_of(shared_world, token, client.proof(token, "GET", URI))
        )

        assert reason_of(answer) == reason
    token = shared_world.token(cnf={**client.confirmation, "jwk": client.jwk})
    answer = shared_world.check(request_of(shared_world, token, client.proof(token, "GET", URI)))
    assert reason_of(answer) == "cnf_unsupported"


def test_once(shared_world: World) -> None:
    """A proof is good once; a proxy that asks again for the same request is no second use."""
    client = DpopClient()
    token = shared_world.token(cnf=client.confirmation)
    first = request_of(shared_world, token, client.proof(token, "GET", URI))
    replay, late = pb.CheckRequest(), pb.CheckRequest()
    replay.CopyFrom(first)
    replay.attributes.request.http.id = "1"
    late.CopyFrom(first)
    late.attributes.request.time.seconds += 1

    for request, reason in (
        (first, "allow"),
        (first, "allow"),
        (replay, "dpop_proof"),
        (late, "dpop_proof"),
        (first, "allow"),
    ):
        answer = shared_world.check(request)
        assert reason_of(answer) == reason
        assert answer.dynamic_metadata["cache"] == "miss"
    assert shared_world.audit_records()[-2]["detail"] == "the proof was used before"


def test_once_of_many_at_once(shared_world: World) -> None:
    """Of many requests with one proof at the same time just one is allowed."""
    client = DpopClient()
    token = shared_world.token(cnf=client.confirmation)
    proof = client.proof(token, "GET", URI)
    requests = [request_of(shared_world, token, proof).SerializeToString() for _ in range(32)]
    with ThreadPoolExecutor(8) as pool:
        reasons = [reason_of(answer) for answer in pool.map(shared_world.check, requests)]

    assert reasons.count("allow") == 1
    assert set(reasons) == {"allow", "dpop_proof"}


def test_a_full_store_is_our_own_fault(tmp_path: Path) -> None:
    """Without room to remember a proof the answer is 503, never an allow."""
    with World(tmp_path, LAB.with_section("replay", "{entries: 1}")) as world:
        client = DpopClient()
        token = world.token(cnf=client.confirmation)
        answers = [
            world.check(request_of(world, token, client.proof(token, "GET", URI))) for _ in range(2)
        ]

        assert [reason_of(answer) for answer in answers] == ["allow", "overloaded"]
        assert answers[1].denied_response.status.code == 503


def nonce_changes(secret: Path) -> ConfigBuilder:
    """Return a config's changes: it asks for nonces."""
    nonce = f"nonce: required, nonce_lifetime: 10s, nonce_secret: '{secret}'"
    return LAB.with_section("token", f"{{dpop: {{{nonce}}}}}")


def test_nonces(tmp_path: Path) -> None:
    """A proof without our nonce gets one; with it, it is taken, by every replica (section 9)."""
    secret = tmp_path / "nonce"
    secret.write_bytes(secrets.token_bytes(32))
    (tmp_path / "b").mkdir()
    with World(tmp_path, nonce_changes(secret)) as world:
        client = DpopClient()
        token = world.token(cnf=client.confirmation)
        for wrong in (None, "x", 5):
            asked = world.check(
                request_of(world, token, client.proof(token, "GET", URI, nonce=wrong))
            )
            assert reason_of(asked) == "dpop_nonce"
            challenge = header_of(asked, "www-authenticate") or ""
            assert challenge.startswith('DPoP error="use_dpop_nonce", ')
        nonce = header_of(asked, "dpop-nonce")
        good = client.proof(token, "GET", URI, nonce=nonce)
        assert reason_of(world.check(request_of(world, token, good))) == "allow"

        proofs = build_delegations(world.config, Lookups(world.keys))._proofs
        assert proofs.nonce(1000.0) == proofs.nonce(1009.9) != proofs.nonce(1010.0)
        with World(tmp_path / "b", nonce_changes(secret)) as replica:
            same = build_delegations(replica.config, Lookups(replica.keys))._proofs
            assert same.nonce(1000.0) == proofs.nonce(1000.0)


def test_nonce_secrets_that_are_none(
    tmp_path: Path, shared_world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """A secret that is missing or short is an error before the server starts."""
    config, secret = tmp_path / "authz.yaml", tmp_path / "nonce"
    config.write_text(nonce_changes(secret).edit(shared_world.config_text))
    assert cli.main(["check", str(config)]) == 1
    told = capsys.readouterr().err
    assert "authz.yaml:" in told
    assert f"token.dpop.nonce_secret: {secret} can't be read: No such file" in told
    secret.write_bytes(b"short")
    assert cli.main(["check", str(config)]) == 1
    assert "less than 32 bytes" in capsys.readouterr().err
    assert cli.main(["serve", str(config)]) == 3


@settings(max_examples=300, deadline=None)
@given(position=st.integers(0, 10_000), change=st.integers(1, 63))
def test_a_changed_proof_never_allows(shared_world: World, position: int, change: int) -> None:
    """Any one character of a proof changed to another of its alphabet is another proof."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    client = _CLIENT
    token = shared_world.token(cnf=client.confirmation)
    proof = client.proof(token, "GET", URI)
    at_ = position % len(proof)
    if proof[at_] == ".":
        return
    other = alphabet[(alphabet.index(proof[at_]) + change) % 64]
    changed = proof[:at_] + other + proof[at_ + 1 :]

    assert reason_of(shared_world.check(request_of(shared_world, token, changed))) != "allow"


def test_nothing_of_a_proof_is_told(shared_world: World) -> None:
    """Neither audit nor metadata nor the answer holds the proof or a part of it."""
    client = DpopClient()
    token = shared_world.token(cnf=client.confirmation)
    proof = client.proof(token, "GET", URI)
    answers = [
        shared_world.check(request_of(shared_world, token, one))
        for one in (proof, proof, proof + "A")
    ]
    shared_world.audit_records()
    told = shared_world.audit_path.read_text() + "".join(str(answer) for answer in answers)

    assert not any(part in told for part in (*proof.split("."), *token.split(".")))


def test_a_stripped_token_takes_the_proof_along(shared_world: World, tmp_path: Path) -> None:
    """The upstream gets a proof only where it gets the token; other requests keep the header."""
    token = shared_world.token()
    bearer = shared_world.check(request_of(shared_world, token, "x", scheme="Bearer"))
    assert "dpop" not in bearer.ok_response.headers_to_remove
    with World(tmp_path, LAB.with_section("token", "{forward: true}")) as world:
        client = DpopClient()
        bound = world.token(cnf=client.confirmation)
        answer = world.check(request_of(world, bound, client.proof(bound, "GET", URI)))

        assert reason_of(answer) == "allow"
        assert "dpop" not in answer.ok_response.headers_to_remove


def test_through_envoy(mesh: Mesh) -> None:
    """Behind the real Envoy a proof is taken once, and neither it nor the token goes upstream."""
    client = DpopClient()
    token = mesh.issuer.token(TRAVEL, scope="balance:read", cnf=client.confirmation)
    headers = [("authorization", f"DPoP {token}"), ("dpop", client.proof(token, "GET", URI))]
    agent = mesh.agent(TRAVEL)
    first = agent.request("GET", BALANCE, headers)
    second = agent.request("GET", BALANCE, headers)

    assert (first.status, second.status) == (200, 401)
    names = {name for name, _ in first.seen_headers()}
    assert not names & {"dpop", "authorization"}
    assert 'DPoP error="invalid_dpop_proof"' in second.headers["www-authenticate"]
