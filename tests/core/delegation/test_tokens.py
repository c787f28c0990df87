"""Delegation tokens, good and hostile, through the core: each has one right reason."""

import hmac
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lab.config_builder import LAB
from lab.issuer import SigningKey, b64, make_key, sign_raw
from lab.mesh import AUDIENCE, ISSUER, ORCHESTRATOR, PAYMENTS, TRAVEL
from support.world import READ, World, check_request, header_of, reason_of

Make = Callable[[World], str]
NOW = int(time.time())  # the tests may come much later


def at(seconds: float) -> Callable[[], float]:
    """So many seconds from when the token is made, whenever that is."""
    return lambda: int(time.time()) + seconds


def claims(**changes: Any) -> Make:
    """A token whose claims are changed so; None leaves one out."""
    return lambda world: world.token(
        **{name: value() if callable(value) else value for name, value in changes.items()}
    )


def header(**changes: Any) -> Make:
    """A token whose header is changed so; None leaves a member out."""
    return lambda world: world.token(header=changes)


def payload_text(text: str) -> Make:
    """A token with exactly this payload, well signed."""

    def make(world: World) -> str:
        key = world.issuer.current
        head = json.dumps({"alg": key.algorithm, "kid": key.key_id, "typ": "at+jwt"})
        return sign_raw(key, head.encode(), text.encode())

    return make


def header_text(template: str) -> Make:
    """A token with exactly this header (KID replaced), well signed."""

    def make(world: World) -> str:
        key = world.issuer.current
        body = json.dumps(world.issuer.claims(TRAVEL, "alice", READ))
        return sign_raw(key, template.replace("KID", key.key_id).encode(), body.encode())

    return make


def altered(change: Callable[[str], str]) -> Make:
    """A good token's text, changed."""
    return lambda world: change(world.token())


def good_claims(extra: str) -> str:
    """The JSON of good claims with raw text put in front."""
    body = json.dumps(
        {
            "iss": ISSUER,
            "sub": "alice",
            "aud": AUDIENCE,
            "client_id": "c",
            "jti": "j",
            "iat": NOW,
            "exp": NOW + 36_000,
            "scope": READ,
            "act": {"sub": TRAVEL},
        }
    )
    return "{" + extra + body[1:]


ACT = json.dumps({"act": {"sub": TRAVEL}})[1:-1]


def hmac_with_public_key(world: World) -> str:
    """HS256 over the issuer's public key as the secret (CVE-2017-11424 and its kin)."""
    key = world.issuer.current
    pem = key.private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    head = b64(json.dumps({"alg": "HS256", "kid": key.key_id, "typ": "at+jwt"}).encode())
    body = b64(json.dumps(world.issuer.claims(TRAVEL, "alice", READ)).encode())
    mac = hmac.digest(pem, f"{head}.{body}".encode(), "sha256")
    return f"{head}.{body}.{b64(mac)}"


def unsigned(alg: str) -> Make:
    """A token that says it needs no signature."""

    def make(world: World) -> str:
        members = {"alg": alg, "kid": world.issuer.current.key_id, "typ": "at+jwt"}
        body = json.dumps(world.issuer.claims(TRAVEL, "alice", READ)).encode()
        return f"{b64(json.dumps(members).encode())}.{b64(body)}."

    return make


def with_signature(signature: bytes) -> Make:
    """A good token with another signature."""
    return altered(lambda token: f"{token.rpartition('.')[0]}.{b64(signature)}")


def der_signature(world: World) -> str:
    """An ECDSA signature in DER, which JWS does not have (RFC 7518 section 3.4)."""
    token = world.token()
    signing_input = token.rpartition(".")[0]
    private = world.issuer.current.private
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    return f"{signing_input}.{b64(private.sign(signing_input.encode(), ec.ECDSA(hashes.SHA256())))}"


def embedded_key(world: World) -> str:
    """A token signed with the attacker's own key, which its header brings along."""
    key = SigningKey(world.issuer.current.key_id, "ES256", make_key("ES256"))
    return world.issuer.token(TRAVEL, scope=READ, key=key, header={"jwk": key.jwk()})


def chain(*subjects: str) -> dict[str, Any]:
    """An act claim of these actors, the current one first."""
    first, *others = subjects
    return {"sub": first, "act": chain(*others)} if others else {"sub": first}


def with_payload(token: str, payload: str) -> str:
    """A token with another payload under its old signature."""
    head, _, signature = token.split(".")
    return f"{head}.{b64(payload.encode())}.{signature}"


def spare_bits(token: str) -> str:
    """The same signature bytes in another base64url text."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet.index(token[-1])
    return token[:-1] + alphabet[last ^ 1]


HOSTILE: dict[str, tuple[Make, str]] = {
    # form
    "not a token": (lambda _: "x", "token_malformed"),
    "two parts": (altered(lambda t: t.rpartition(".")[0]), "token_malformed"),
    "four parts": (altered(lambda t: t + ".AAAA"), "token_malformed"),
    "five parts, as JWE has": (altered(lambda t: t + ".AAAA.AAAA"), "token_malformed"),
    "a trailing dot": (altered(lambda t: t + "."), "token_malformed"),
    "padding": (altered(lambda t: t + "="), "token_malformed"),
    "spare bits set": (altered(spare_bits), "token_malformed"),
    "a plus sign": (altered(lambda t: "+" + t), "token_malformed"),
    "a newline at the end": (altered(lambda t: t + "\n"), "token_malformed"),
    "a second space": (altered(lambda t: " " + t), "token_malformed"),
    "another word behind": (altered(lambda t: t + " x"), "token_malformed"),
    "not ASCII": (altered(lambda t: t + "\u00e9"), "token_malformed"),
    "JSON serialization": (lambda _: '{"payload":"e30"}', "token_malformed"),
    "two tokens joined": (altered(lambda t: f"{t},Bearer {t}"), "auth_ambiguous"),
    "too large": (claims(padding="x" * 9000), "token_too_large"),
    "payload is a list": (payload_text("[]"), "token_malformed"),
    "payload is null": (payload_text("null"), "token_malformed"),
    "payload is not UTF-8": (
        lambda w: sign_raw(w.issuer.current, b'{"alg":"ES256"}', b'{"a":"\xff"}'),
        "token_malformed",
    ),
    "payload with a byte order mark": (payload_text("\ufeff{}"), "token_malformed"),
    "sub twice": (payload_text(good_claims('"sub":"root",')), "token_malformed"),
    "act.sub twice": (
        payload_text(good_claims('"x":{"sub":"a","sub":"b"},')),
        "token_malformed",
    ),
    "alg twice": (
        header_text('{"alg":"none","alg":"ES256","kid":"KID","typ":"at+jwt"}'),
        "token_malformed",
    ),
    "deep": (payload_text(good_claims('"x":' + "[" * 100 + "]" * 100 + ",")), "token_malformed"),
    "very deep": (
        payload_text(good_claims('"x":' + "[" * 2000 + "]" * 2000 + ",")),
        "token_malformed",
    ),
    "a number of 4000 digits": (payload_text(good_claims(f'"x":{"9" * 4000},')), "token_malformed"),
    # algorithm and signature
    "alg none": (unsigned("none"), "token_alg"),
    "alg None": (unsigned("None"), "token_alg"),
    "alg empty": (unsigned(""), "token_alg"),
    "no signature": (unsigned("ES256"), "token_signature"),
    "HS256 with the public key": (hmac_with_public_key, "token_alg"),
    "alg in lower case": (header(alg="es256"), "token_alg"),
    "alg is a number": (header(alg=5), "token_alg"),
    "alg is missing": (header(alg=None), "token_alg"),
    "alg not of the issuer": (header(alg="ES384"), "token_alg"),
    "alg not of the key": (header(alg="RS256"), "token_alg"),
    "signature of zeros": (with_signature(bytes(64)), "token_signature"),
    "signature too short": (with_signature(b"1" * 63), "token_signature"),
    "signature in DER": (der_signature, "token_signature"),
    "the attacker's key in its header": (embedded_key, "token_signature"),
    "payload changed": (
        altered(lambda t: with_payload(t, good_claims(""))),
        "token_signature",
    ),
    # header
    "typ JWT": (header(typ="JWT"), "token_typ"),
    "typ missing": (header(typ=None), "token_typ"),
    "typ is a list": (header(typ=["at+jwt"]), "token_typ"),
    "a DPoP proof": (header(typ="dpop+jwt"), "token_typ"),
    "an ID-JAG": (header(typ="oauth-id-jag+jwt"), "token_typ"),
    "a security event": (header(typ="secevent+jwt"), "token_typ"),
    "a transaction token": (header(typ="txntoken+jwt"), "token_typ"),
    "a workload identity token": (header(typ="wit+jwt"), "token_typ"),
    "a status list": (header(typ="statuslist+jwt"), "token_typ"),
    "crit": (header(crit=["exp"]), "token_crit"),
    "crit empty": (header(crit=[]), "token_crit"),
    "b64 false": (header(b64=False), "token_crit"),
    "compressed": (header(zip="DEF"), "token_malformed"),
    "nested": (header(cty="JWT"), "token_malformed"),
    "kid missing": (header(kid=None), "token_key_unknown"),
    "kid unknown": (header(kid="nope"), "token_key_unknown"),
    "kid a path": (header(kid="../../etc/passwd"), "token_key_unknown"),
    "kid a number": (header(kid=7), "token_malformed"),
    "kid long": (header(kid="k" * 300), "token_malformed"),
    # claims
    "iss missing": (claims(iss=None), "token_issuer"),
    "iss with a slash": (claims(iss=ISSUER + "/"), "token_issuer"),
    "iss in upper case": (claims(iss=ISSUER.upper()), "token_issuer"),
    "iss with a port": (claims(iss=ISSUER + ":443"), "token_issuer"),
    "iss a list": (claims(iss=[ISSUER]), "token_issuer"),
    "aud missing": (claims(aud=None), "token_audience"),
    "aud of another": (claims(aud="https://other.example"), "token_audience"),
    "aud a longer one": (claims(aud=AUDIENCE + "-admin"), "token_audience"),
    "aud a prefix": (claims(aud=AUDIENCE[:-1]), "token_audience"),
    "aud an empty list": (claims(aud=[]), "token_audience"),
    "aud a number": (claims(aud=1), "token_claim"),
    "aud a list with a number": (claims(aud=[AUDIENCE, 1]), "token_claim"),
    "exp missing": (claims(exp=None), "token_claim"),
    "exp a string": (claims(exp="9999999999"), "token_claim"),
    "exp true": (claims(exp=True), "token_claim"),
    "exp negative": (claims(exp=-1), "token_claim"),
    "exp huge": (claims(exp=2**63), "token_claim"),
    "exp NaN": (payload_text(good_claims("").replace(str(NOW + 36_000), "NaN")), "token_malformed"),
    "exp 1e400": (
        payload_text(good_claims("").replace(str(NOW + 36_000), "1e400")),
        "token_malformed",
    ),
    "expired": (claims(iat=at(-700), exp=at(-60)), "token_expired"),
    "over before it was issued": (claims(iat=at(10), exp=at(5)), "token_claim"),
    "over when it was issued": (claims(iat=at(-5), exp=at(-5)), "token_claim"),
    "over before it begins": (claims(nbf=at(20), exp=at(15)), "token_claim"),
    "over as it begins, in fractions": (claims(iat=at(0.5), exp=at(0.25)), "token_claim"),
    "iat missing": (claims(iat=None), "token_claim"),
    "iat in the future": (claims(iat=at(300), exp=at(600)), "token_not_yet_valid"),
    "nbf in the future": (claims(nbf=at(300)), "token_not_yet_valid"),
    "nbf a string": (claims(nbf="0"), "token_claim"),
    "valid for a year": (claims(exp=at(365 * 86400)), "token_lifetime"),
    "sub missing": (claims(sub=None), "token_claim"),
    "sub empty": (claims(sub=""), "token_claim"),
    "sub a number": (claims(sub=1), "token_claim"),
    "sub with a line break": (claims(sub="alice\r\nx-agent-id: root"), "token_claim"),
    "sub long": (claims(sub="a" * 1025), "token_claim"),
    "sub a long SPIFFE ID": (claims(sub=f"spiffe://corp.example/{'a' * 2048}"), "token_claim"),
    "jti missing": (claims(jti=None), "token_claim"),
    "client_id missing": (claims(client_id=None), "token_claim"),
    "scope a list with a number": (claims(scope=[READ, 7]), "token_claim"),
    "scope with a tab": (claims(scope=f"{READ}\tx"), "token_claim"),
    "scope with two spaces": (claims(scope=f"{READ}  x"), "token_claim"),
    # delegation
    "act missing": (claims(act=None), "actor_missing"),
    "may_act is no actor": (claims(act=None, may_act={"sub": TRAVEL}), "actor_missing"),
    "act a string": (claims(act=TRAVEL), "actor_malformed"),
    "act a list": (claims(act=[{"sub": TRAVEL}]), "actor_malformed"),
    "act without sub": (claims(act={"iss": ISSUER}), "actor_malformed"),
    "act with an empty sub": (claims(act={"sub": ""}), "actor_malformed"),
    "act of another agent": (claims(act={"sub": PAYMENTS}), "actor_mismatch"),
    "the caller is an inner actor only": (
        claims(act={"sub": PAYMENTS, "act": {"sub": TRAVEL}}),
        "actor_mismatch",
    ),
    "an inner act is malformed": (claims(act={"sub": TRAVEL, "act": "x"}), "actor_malformed"),
    "an inner act is null": (claims(act={"sub": TRAVEL, "act": None}), "actor_malformed"),
    "an inner act is null, deeper": (
        claims(act={"sub": TRAVEL, "act": {"sub": "b", "act": None}}),
        "actor_malformed",
    ),
    "an inner act is false": (claims(act={"sub": TRAVEL, "act": False}), "actor_malformed"),
    "act is null": (payload_text(good_claims("").replace(ACT, '"act": null')), "actor_malformed"),
    "an inner actor's long name": (claims(act=chain(TRAVEL, "b" * 1025)), "actor_malformed"),
    "an actor's long SPIFFE ID": (
        claims(act={"sub": f"spiffe://corp.example/{'a' * 2048}"}),
        "actor_malformed",
    ),
    "actor in upper case": (claims(act={"sub": TRAVEL.upper()}), "actor_mismatch"),
    "five actors": (
        claims(act=chain(TRAVEL, "b", "c", "d", "e")),
        "chain_too_deep",
    ),
    "the agent for itself": (claims(sub=TRAVEL), "principal_required"),
    # proof of possession
    "bound to another certificate": (claims(cnf={"x5t#S256": "A" * 43}), "cnf_mismatch"),
    "bound to a DPoP key": (claims(cnf={"jkt": "A" * 43}), "pop_missing"),
    "bound to both": (claims(cnf={"jkt": "A" * 43, "x5t#S256": "A" * 43}), "pop_missing"),
    "bound in an unknown way": (claims(cnf={"quantum": "A"}), "cnf_unsupported"),
    "cnf empty": (claims(cnf={}), "cnf_unsupported"),
    "cnf a string": (claims(cnf="x"), "cnf_unsupported"),
    # policy
    "scope missing": (claims(scope=None), "scope"),
    "another scope": (claims(scope="balance:write"), "scope"),
    "a longer scope": (claims(scope=READ + "er"), "scope"),
    "an unknown principal": (claims(sub="mallory"), "policy_denied"),
}  # fmt: skip


@pytest.mark.parametrize("raw_headers", [False, True], ids=["headers", "header_map"])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_token(shared_world: World, name: str, raw_headers: bool) -> None:  # noqa: FBT001 - a parameter of cases
    """Every hostile token is refused for the right reason, in both forms of headers."""
    make, reason = HOSTILE[name]
    answer = shared_world.ask(make(shared_world), raw_headers=raw_headers)

    assert reason == reason_of(answer)


GOOD: dict[str, Make] = {
    "plain": claims(),
    "typ with its full name": header(typ="application/at+jwt"),
    "typ in upper case": header(typ="AT+JWT"),
    "aud a list": claims(aud=["https://x.example", AUDIENCE]),
    "exp a fraction": claims(exp=at(600.5)),
    "a little expired": claims(iat=at(-600), exp=at(-5)),
    "more scopes": claims(scope=f"{READ} other:scope"),
    "unknown claims": claims(whatever={"a": [1, 2, None]}),
    "a chain": claims(act={"sub": TRAVEL, "act": {"sub": ORCHESTRATOR, "iss": "https://x"}}),
    "four actors": claims(act=chain(TRAVEL, "b", "c", "d")),
    "dates in act are not looked at": claims(act={"sub": TRAVEL, "exp": 1, "aud": "x"}),
    "an embedded key is not looked at": header(jku="https://evil.example/jwks", x5u="x"),
    "by group": claims(sub="bob", groups=["readers", 7]),
}  # fmt: skip


@pytest.mark.parametrize("raw_headers", [False, True], ids=["headers", "header_map"])
@pytest.mark.parametrize("name", GOOD)
def test_good_token(shared_world: World, name: str, raw_headers: bool) -> None:  # noqa: FBT001 - a parameter of cases
    """Every good token is allowed, in both forms of headers."""
    answer = shared_world.ask(GOOD[name](shared_world), raw_headers=raw_headers)

    assert reason_of(answer) == "allow"


@pytest.mark.parametrize("algorithm", ["ES256", "RS256", "PS256", "Ed25519"])
def test_algorithms(world: World, algorithm: str) -> None:
    """Tokens of every accepted algorithm verify, with a key that was just published."""
    world.issuer.rotate(algorithm)

    assert reason_of(world.ask(world.token())) == "allow"
    assert reason_of(world.ask(with_signature(b"1" * 64)(world))) == "token_signature"


def test_bound_to_the_callers_certificate(shared_world: World) -> None:
    """A token bound to the caller's certificate is good, and is not without the certificate."""
    digest = shared_world.svid.certificate.fingerprint(hashes.SHA256())
    token = shared_world.token(cnf={"x5t#S256": urlsafe_b64encode(digest).rstrip(b"=").decode()})

    assert reason_of(shared_world.ask(token)) == "allow"


def test_bound_token_without_certificate(tmp_path: Any) -> None:
    """A bound token is refused where the proxy sends no certificate to compare with."""
    with World(tmp_path, LAB.with_(("profiles", "default", "certificate"), "optional")) as world:
        answer = world.ask(world.token(cnf={"x5t#S256": "A" * 43}), certificate="")

        assert reason_of(answer) == "pop_missing"
        assert reason_of(world.ask(world.token(), certificate="")) == "allow"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "token_missing"),
        ("Bearer", "token_malformed"),
        ("Bearer ", "token_malformed"),
        ("bearer abc", "token_malformed"),
        ("Bearerabc", "token_missing"),
        ("Basic YTpi", "token_missing"),
        ("Bearer a,Bearer b", "auth_ambiguous"),
        ("Bearer a, Basic b", "auth_ambiguous"),
        ("Basic YTpi=, BEARER a", "auth_ambiguous"),
        ("Bearer a,", "token_malformed"),
        (", Bearer a", "token_missing"),
        ("Bearer a, b", "token_malformed"),
        ('Digest username="a", realm="b", nonce="c"', "token_missing"),
    ],
)
def test_credential(shared_world: World, value: str, reason: str) -> None:
    """Exactly one credential of the configured scheme is looked for."""
    request = check_request(shared_world.svid, [("authorization", value)])

    assert reason_of(shared_world.check(request)) == reason


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "bEaReR"])
def test_the_scheme_is_written_in_any_case(shared_world: World, scheme: str) -> None:
    """Schemes are compared without their case (RFC 9110 section 11.1)."""
    headers = [("authorization", f"{scheme} {shared_world.token()}")]
    for raw in (False, True):
        answer = shared_world.check(check_request(shared_world.svid, headers, raw_headers=raw))

        assert reason_of(answer) == "allow"


@pytest.mark.parametrize("query", ["access_token=x", "a=1&access%5Ftoken=x", "access_token"])
def test_token_in_query(shared_world: World, query: str) -> None:
    """A token in the query is refused, beside a good one too."""
    answer = shared_world.ask(shared_world.token(), path=f"/finance/balance?{query}")

    assert reason_of(answer) == "auth_ambiguous"
    assert answer.denied_response.status.code == 400


@pytest.mark.parametrize("query", ["access_token=x", "a=1&access%5Ftoken=x"])
def test_token_in_query_alone(shared_world: World, query: str) -> None:
    """One credential is not two: in the query alone it is one that is missing where it belongs."""
    answer = shared_world.ask(None, path=f"/finance/balance?{query}")

    assert reason_of(answer) == "token_missing"
    request = check_request(shared_world.svid, [("cookie", "authorization=x")])
    assert reason_of(shared_world.check(request)) == "token_missing"
    request.attributes.request.http.path += f"?{query}"
    assert reason_of(shared_world.check(request)) == "auth_ambiguous"


def test_two_authorization_headers_in_header_map(shared_world: World) -> None:
    """Two authorization headers are ambiguous, whichever of them is good."""
    good = f"Bearer {shared_world.token()}"
    for pair in ([good, "Bearer x"], ["Bearer x", good], [good, good]):
        headers = [("authorization", value) for value in pair]
        request = check_request(shared_world.svid, headers, raw_headers=True)

        assert reason_of(shared_world.check(request)) == "auth_ambiguous"


def test_challenges(shared_world: World) -> None:
    """Challenges carry what RFC 6750, RFC 9728 and the scope rule say, and nothing else."""
    context = {"resource_metadata": "https://mcp.corp.example/.well-known/x"}
    metadata = 'resource_metadata="https://mcp.corp.example/.well-known/x"'
    expected = {
        None: f"Bearer {metadata}",
        "x": f'Bearer error="invalid_token", {metadata}',
        shared_world.token(scope="x"): (
            f'Bearer error="insufficient_scope", scope="{READ}", {metadata}'
        ),
        shared_world.token(act={"sub": PAYMENTS}): (
            f'Bearer error="actor_unauthorized", {metadata}'
        ),
        shared_world.token(sub="mallory"): None,
    }
    for token, challenge in expected.items():
        assert header_of(shared_world.ask(token, context=context), "www-authenticate") == challenge
    elsewhere = shared_world.ask(None, path="/public/x")  # no resource, so nothing else to say
    assert header_of(elsewhere, "www-authenticate") == 'Bearer realm="agent-authz"'
