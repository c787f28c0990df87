"""Who calls: source.principal and source.certificate, good and hostile; and mapped actors."""

import time
from base64 import urlsafe_b64encode
from hashlib import sha256
from math import inf
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from authz.core.decision import Agent
from authz.core.delegation import ActorSettings
from authz.core.identity import ProfileSettings
from authz.core.identity.authenticator import AgentAuthenticator
from authz.core.reason import Denied, Reason
from authz.core.request import Request
from authz.core.spiffe.svid import MAX_CERTIFICATE_CHARS, NOT_BEFORE_SKEW_SECONDS
from lab.config_builder import AT_ISSUER, LAB
from lab.mesh import PAYMENTS, TRAVEL
from support.certificates import as_sent, pem, self_made
from support.world import LIFETIMES_SECONDS, World, reason_of, wait_until

SERVER_ONLY = (ExtendedKeyUsageOID.SERVER_AUTH,)


@pytest.mark.parametrize(
    ("principal", "reason"),
    [
        ("", "agent_missing"),
        ("CN=travel,O=corp", "agent_invalid"),
        ("travel.corp.example", "agent_invalid"),
        ("https://corp.example/travel", "agent_invalid"),
        ("spiffe://corp.example", "agent_invalid"),
        (TRAVEL + "/", "agent_invalid"),
        (TRAVEL + "/..", "agent_invalid"),
        (TRAVEL + "\n", "agent_invalid"),
        (TRAVEL.replace("spiffe", "SPIFFE"), "agent_invalid"),
        (TRAVEL.replace("corp.example", "Corp.example"), "agent_invalid"),
        (TRAVEL.replace("corp.example", "corp.example:443"), "agent_invalid"),
        (f"{TRAVEL},{PAYMENTS}", "agent_invalid"),
        (TRAVEL.replace("a", "\u0430"), "agent_invalid"),
        (TRAVEL.replace("corp.example", "corp.example.evil"), "agent_untrusted_domain"),
        (TRAVEL.replace("corp.example", "evil.example"), "agent_untrusted_domain"),
        (PAYMENTS, "identity_conflict"),
        (TRAVEL + "0", "identity_conflict"),
    ],
)
def test_principal(shared_world: World, principal: str, reason: str) -> None:
    """A principal that is not the certificate's SPIFFE ID in a trusted domain is refused."""
    assert reason_of(shared_world.ask(shared_world.token(), principal=principal)) == reason


LEAVES: dict[str, tuple[tuple[str, ...], dict[str, Any], str]] = {
    "two URI names": ((TRAVEL, PAYMENTS), {}, "agent_invalid"),
    "the same name twice": ((TRAVEL, TRAVEL), {}, "agent_invalid"),
    "a second URI of another scheme": ((TRAVEL, "https://x.example/"), {}, "agent_invalid"),
    "no URI name": ((), {"dns": ("travel.example",)}, "agent_invalid"),
    "no names at all": ((), {}, "agent_invalid"),
    "another name": ((PAYMENTS,), {}, "identity_conflict"),
    "a CA": ((TRAVEL,), {"ca": True}, "agent_invalid"),
    "may sign certificates": ((TRAVEL,), {"signs_certificates": True}, "agent_invalid"),
    "no key usage": ((TRAVEL,), {"key_usage": False}, "agent_invalid"),
    "for servers only": ((TRAVEL,), {"usages": SERVER_ONLY}, "agent_invalid"),
    "expired": ((TRAVEL,), {"starts_in_seconds": -90, "lifetime_seconds": 60}, "agent_invalid"),
    "not yet valid": ((TRAVEL,), {"starts_in_seconds": 300}, "agent_invalid"),
    "just issued, by a clock ahead": ((TRAVEL,), {"starts_in_seconds": 20}, "allow"),
    "no extended key usage": ((TRAVEL,), {"usages": ()}, "allow"),
    "a DNS name too": ((TRAVEL,), {"dns": ("travel.example",)}, "allow"),
}


@pytest.mark.parametrize("name", LEAVES)
def test_certificate(shared_world: World, name: str) -> None:
    """A certificate must be the SVID of the principal, by the leaf rules of X509-SVID."""
    uris, changes, reason = LEAVES[name]
    svid = shared_world.authority.issue(*uris, **changes)
    answer = shared_world.ask(shared_world.token(), certificate=svid.url_encoded)

    assert reason_of(answer) == reason


def test_certificate_text(shared_world: World) -> None:
    """A certificate's text that is not exactly one PEM certificate is refused."""
    good = shared_world.svid.url_encoded
    texts = {
        "": "agent_invalid",  # this config requires one
        "garbage": "agent_invalid",
        good + good: "agent_invalid",
        good.replace("%", "%25"): "agent_invalid",
        good[:200] + good[220:]: "agent_invalid",
        good + "A" * 40_000: "agent_invalid",
        good.replace("CERTIFICATE", "PUBLIC%20KEY"): "agent_invalid",
        good: "allow",
    }
    for text, reason in texts.items():
        assert reason_of(shared_world.ask(shared_world.token(), certificate=text)) == reason


def test_a_cached_allow_ends_with_the_certificate(world: World) -> None:
    """An allow is not remembered past the certificate's end: the connection outlives it."""
    token = world.token()
    for seconds in LIFETIMES_SECONDS:
        lifetime = 60 + seconds
        svid = world.authority.issue(TRAVEL, starts_in_seconds=-60, lifetime_seconds=lifetime)
        first = world.ask(token, certificate=svid.url_encoded)
        if reason_of(first) == "allow":
            break
    not_after = svid.certificate.not_valid_after_utc.timestamp()
    assert float(str(first.dynamic_metadata["valid_until"])) == not_after
    wait_until(lambda: time.time() > not_after)

    assert reason_of(world.ask(token, certificate=svid.url_encoded)) == "agent_invalid"


def test_profiles(tmp_path: Path) -> None:
    """A route names its profile in its context, and one that is not configured refuses."""
    with World(tmp_path, LAB.with_profile("loose", "{}")) as world:
        token = world.token()

        assert reason_of(world.ask(token, certificate="")) == "agent_invalid"
        loose = {"authz_profile": "loose"}
        assert reason_of(world.ask(token, certificate="", context=loose)) == "allow"
        unknown = {"authz_profile": "none"}
        assert reason_of(world.ask(token, context=unknown)) == "agent_invalid"


MAPPED = LAB.with_keys(
    AT_ISSUER,
    f"""\
actor: {{claim: azp, map: {{travel-client: '{TRAVEL}'}}}}
typ: [at+jwt, JWT]
""",
)


@pytest.mark.parametrize(
    ("changes", "typ", "reason"),
    [
        ({"azp": "travel-client"}, "at+jwt", "allow"),
        ({"azp": "travel-client", "act": {"sub": PAYMENTS}}, "at+jwt", "actor_mismatch"),
        ({"azp": "other"}, "at+jwt", "actor_not_permitted"),
        ({"azp": ["travel-client"]}, "at+jwt", "actor_malformed"),
        ({}, "at+jwt", "actor_missing"),
        ({"azp": "travel-client", "jti": None, "client_id": None}, "JWT", "allow"),
        ({"azp": "travel-client", "nonce": "n"}, "JWT", "token_typ"),
        ({"azp": "travel-client", "at_hash": "h"}, "JWT", "token_typ"),
        ({"azp": "travel-client", "events": {}}, "JWT", "token_typ"),
        (
            {"azp": "https://mcp.corp.example/finance", "client_id": None},
            "JWT",
            "actor_not_permitted",  # a client may be its own audience, with scopes
        ),
    ],
)
def test_mapped_actor_and_plain_jwt(
    tmp_path: Path, changes: dict[str, Any], typ: str, reason: str
) -> None:
    """An issuer without act has its claim mapped; plain JWTs are taken, ID tokens never."""
    with World(tmp_path, MAPPED) as world:
        token = world.token(header={"typ": typ}, **{"act": None, **changes})

        assert reason_of(world.ask(token)) == reason


def test_mapped_mode_is_in_the_audit(tmp_path: Path) -> None:
    """The audit tells an actor that was mapped from one that the token named."""
    with World(tmp_path, MAPPED) as world:
        world.ask(world.token(azp="travel-client", act=None))

        assert world.audit_records()[0]["mode"] == "mapped"


def test_an_issuer_may_name_agents_of_its_domains_only(tmp_path: Path) -> None:
    """An issuer's actors_from bounds whom it may name, the caller itself included."""
    change = LAB.with_(("trust_domains",), ["corp.example", "partner.example"])
    change = change.with_((*AT_ISSUER, "actors_from"), ["partner.example"])
    with World(tmp_path, change) as world:
        assert reason_of(world.ask(world.token())) == "issuer_actor_scope"


@pytest.mark.parametrize(
    "values",
    [
        {"claim": "aud"},
        {"claim": "azp", "map": {"a": "b"}},
        {"map": {"a": "b"}},
    ],
)
def test_actor_settings_are_checked(values: dict[str, Any]) -> None:
    """A claim that names nobody who acts, and a map to no SPIFFE ID, are errors."""
    with pytest.raises(ValidationError):
        ActorSettings(**values)


def test_a_certificate_that_may_not_sign(shared_world: World) -> None:
    """A leaf whose key usage lacks digitalSignature is no SVID (X509-SVID section 4.3)."""
    svid = self_made(TRAVEL, digital_signature=False)

    assert reason_of(shared_world.ask(shared_world.token(), certificate=svid)) == "agent_invalid"


def test_an_extension_that_occurs_twice(shared_world: World) -> None:
    """A certificate with two of one extension, which readers take differently, is refused."""
    der = shared_world.svid.certificate.public_bytes(Encoding.DER)
    # extendedKeyUsage becomes a second subjectAltName: 2.5.29.37 -> 2.5.29.17
    twice = der.replace(bytes.fromhex("0603551d25"), bytes.fromhex("0603551d11"))
    assert twice != der

    answer = shared_world.ask(shared_world.token(), certificate=as_sent(pem(twice)))

    assert reason_of(answer) == "agent_invalid"


def test_one_pem_block_of_any_label(shared_world: World) -> None:
    """A second PEM block of whatever label is refused: readers could choose either one."""
    good = shared_world.svid.certificate_pem
    old_label = shared_world.authority.issue(PAYMENTS).certificate_pem.replace(
        "CERTIFICATE", "X509 CERTIFICATE"
    )
    texts = {
        old_label + good: "agent_invalid",
        good + old_label: "agent_invalid",
        good + shared_world.svid.key_pem: "agent_invalid",
        good.replace("CERTIFICATE", "X509 CERTIFICATE"): "agent_invalid",
        good.replace("\n", "\r\n"): "allow",
    }
    for text, reason in texts.items():
        answer = shared_world.ask(shared_world.token(), certificate=as_sent(text))
        assert reason_of(answer) == reason


def test_certificate_size(shared_world: World) -> None:
    """An RSA-4096 leaf fits; a text past the bound is refused before it is parsed."""
    large = self_made(TRAVEL, key=rsa.generate_private_key(65537, 4096))
    assert len(large) < MAX_CERTIFICATE_CHARS
    assert reason_of(shared_world.ask(shared_world.token(), certificate=large)) == "allow"
    padded = shared_world.svid.url_encoded
    padded += "%0A" * ((MAX_CERTIFICATE_CHARS - len(padded)) // 3)
    assert reason_of(shared_world.ask(shared_world.token(), certificate=padded)) == "allow"

    answer = shared_world.ask(shared_world.token(), certificate=padded + "%0A")

    assert reason_of(answer) == "agent_invalid"


IDENTITY = AgentAuthenticator(["corp.example"], {"default": ProfileSettings()})


def agent_of(certificate: str, now: float, principal: str = TRAVEL) -> Agent:
    """Who calls, without the rest of the pipeline."""
    request = Request("GET", "h", "/", principal=principal, certificate=certificate)
    return IDENTITY.identify(request, now)


REFUSALS = {
    Reason.AGENT_MISSING,
    Reason.AGENT_INVALID,
    Reason.AGENT_UNTRUSTED_DOMAIN,
    Reason.IDENTITY_CONFLICT,
}


def agent_or_reason(certificate: str, now: float, principal: str = TRAVEL) -> Agent | Reason:
    """Who calls, or why that is refused."""
    try:
        return agent_of(certificate, now, principal)
    except Denied as denied:
        return denied.reason


def test_thumbprint_and_expiry(shared_world: World) -> None:
    """The agent carries its certificate's x5t#S256 (RFC 8705 section 3.1) and its end."""
    certificate = shared_world.svid.certificate
    der = certificate.public_bytes(Encoding.DER)
    agent = agent_of(shared_world.svid.url_encoded, time.time())

    assert agent.thumbprint == urlsafe_b64encode(sha256(der).digest()).decode().rstrip("=")
    assert len(agent.thumbprint) == 43
    assert agent.expires_at == certificate.not_valid_after_utc.timestamp()
    assert agent.spiffe_id.text == TRAVEL


def test_edges_of_validity(shared_world: World) -> None:
    """A certificate counts from a skew before notBefore until, and not at, notAfter."""
    svid = shared_world.svid
    begin = svid.certificate.not_valid_before_utc.timestamp() - NOT_BEFORE_SKEW_SECONDS
    end = svid.certificate.not_valid_after_utc.timestamp()
    for now in (begin, end - 0.001):
        assert agent_of(svid.url_encoded, now).expires_at == end
    for now in (begin - 0.001, end, end + 1e9):
        with pytest.raises(Denied) as caught:
            agent_of(svid.url_encoded, now)
        assert caught.value.reason is Reason.AGENT_INVALID


def test_without_a_certificate() -> None:
    """Where a certificate is optional, an agent without one has no thumbprint and no known end."""
    agent = agent_of("", 0.0)

    assert (agent.thumbprint, agent.expires_at) == ("", inf)


def test_details_do_not_repeat_the_input() -> None:
    """What a client sent is not in the detail: it goes to a log that people and programs read."""
    for principal, certificate in (
        ("CN=needle", ""),
        (TRAVEL, "needle"),
        (TRAVEL + "/needle!", ""),
    ):
        with pytest.raises(Denied) as caught:
            agent_of(certificate, 0.0, principal)
        assert caught.value.detail
        assert "needle" not in caught.value.detail


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_texts(principal: str, certificate: str) -> None:
    """Whatever the two texts are, the answer is an agent of that very principal, or a refusal."""
    found = agent_or_reason(certificate, 0.0, principal)

    assert found in REFUSALS or (isinstance(found, Agent) and found.spiffe_id.text == principal)


@given(st.data())
def test_damaged_certificates(shared_world: World, data: st.DataObject) -> None:
    """One byte changed anywhere in a certificate ends in an agent or in Denied, nothing else."""
    der = bytearray(shared_world.svid.certificate.public_bytes(Encoding.DER))
    at = data.draw(st.integers(0, len(der) - 1))
    der[at] ^= data.draw(st.integers(1, 255))
    found = agent_or_reason(as_sent(pem(bytes(der))), time.time())

    assert found in REFUSALS or (isinstance(found, Agent) and found.spiffe_id.text == TRAVEL)
