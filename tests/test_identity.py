"""Who calls: source.principal and source.certificate, good and hostile; and mapped actors."""

import time
from pathlib import Path
from typing import Any

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from pydantic import ValidationError
from world import World, reason_of

from authz.delegation import ActorSettings
from lab.mesh import PAYMENTS, TRAVEL

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
    svid = world.authority.issue(TRAVEL, starts_in_seconds=-60, lifetime_seconds=61.9)
    token = world.token()
    first = world.ask(token, certificate=svid.url_encoded)
    assert reason_of(first) == "allow"
    not_after = svid.certificate.not_valid_after_utc.timestamp()
    assert float(str(first.dynamic_metadata["valid_until"])) == not_after
    time.sleep(max(0.0, not_after - time.time()) + 0.05)

    assert reason_of(world.ask(token, certificate=svid.url_encoded)) == "agent_invalid"


def test_profiles(tmp_path: Path) -> None:
    """A route names its profile in its context, and one that is not configured refuses."""
    change = {"default: {certificate: required}": "default: {certificate: required}\n  loose: {}"}
    with World(tmp_path, change) as world:
        token = world.token()

        assert reason_of(world.ask(token, certificate="")) == "agent_invalid"
        loose = {"authz_profile": "loose"}
        assert reason_of(world.ask(token, certificate="", context=loose)) == "allow"
        unknown = {"authz_profile": "none"}
        assert reason_of(world.ask(token, context=unknown)) == "agent_invalid"


MAPPED = {
    "    audiences:": f"    actor: {{claim: azp, map: {{travel-client: '{TRAVEL}'}}}}\n"
    "    typ: [at+jwt, JWT]\n    audiences:"
}


@pytest.mark.parametrize(
    ("changes", "typ", "reason"),
    [
        ({"azp": "travel-client"}, "at+jwt", "allow"),
        ({"azp": "travel-client", "act": {"sub": PAYMENTS}}, "at+jwt", "allow"),
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
            "token_typ",
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
    change = {
        "trust_domains: [corp.example]": "trust_domains: [corp.example, partner.example]",
        "    audiences:": "    actors_from: [partner.example]\n    audiences:",
    }
    with World(tmp_path, change) as world:
        assert reason_of(world.ask(world.token())) == "issuer_actor_scope"


@pytest.mark.parametrize(
    "values",
    [
        {"map": {"a": TRAVEL}},
        {"claim": "azp"},
        {"claim": "azp", "map": {"a": "b"}},
    ],
)
def test_actor_settings_are_checked(values: dict[str, Any]) -> None:
    """A map without its claim, a claim without its map, and a map to no SPIFFE ID are errors."""
    with pytest.raises(ValidationError):
        ActorSettings(**values)
