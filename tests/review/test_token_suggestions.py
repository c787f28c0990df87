"""``authz token check --suggest``: the block that it prints takes the token, and nothing more."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from authz.config import load
from authz.core.delegation import IssuerSettings
from lab.config_builder import LAB, ConfigBuilder
from lab.issuer import Issuer
from lab.mesh import AUDIENCE, PAYMENTS, TRAVEL
from support.token_shapes import ID_TOKENS, REFRESH, SHAPES, Shape, new_issuer
from support.verbs import edit, run
from support.world import World, reason_of

Say = Callable[..., tuple[int, dict[str, Any]]]
IDS = [shape.name for shape in SHAPES]
RULE = [{"hosts": ["*"], "methods": ["GET"], "paths": ["/**"], "scopes": []}]


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    """An issuer with a key that everybody's tokens are signed by."""
    return new_issuer()


@pytest.fixture
def say(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Say:
    """Check a token with ``--json``."""

    def check(token: str, *flags: str) -> tuple[int, dict[str, Any]]:
        path = tmp_path / "token.jwt"
        path.write_text(token)
        status = run("token", "check", str(config), str(path), "--json", *flags)
        return status, json.loads(capsys.readouterr().out)

    return check


def block_of(said: dict[str, Any]) -> dict[str, Any]:
    """Return the suggested block."""
    block = said["suggestion"]["block"]
    assert block is not None, said["suggestion"]
    return dict(block)


def with_block(block: dict[str, Any], shape: Shape, keys: Path) -> ConfigBuilder:
    """Return the changes that put the block, with these keys, into the lab's config."""
    is_own = shape.mode == "autonomous"
    wanted = ["autonomous"] if is_own else ["delegated"]
    place: dict[str, Any] = {"file": str(keys)}
    if "spiffe_bundle" in block["keys"]:
        place = {"spiffe_bundle": {**block["keys"]["spiffe_bundle"], **place}}
    match = {"issuer": block["issuer"]} | ({"subjects": [shape.claims["sub"]]} if is_own else {})
    return (
        LAB.with_(("issuers",), [{**block, "keys": place}])
        .with_(("routes",), [{"name": "all", "modes": wanted}])
        .with_(("principals",), [{"match": match, "grants": ["all"]}])
        .with_(("grants",), {"all": RULE})
        .with_(("agents",), [{"id": TRAVEL, "grants": ["all"]}])
    )


def jwks(issuer: Issuer, block: dict[str, Any]) -> bytes:
    """Return the issuer's keys, as a SPIFFE bundle where the block asks for one."""
    use = "jwt-svid" if "spiffe_bundle" in block["keys"] else "sig"
    return json.dumps(
        {"keys": [{**key.jwk(), "use": use} for key in issuer.keys.values()]}
    ).encode()


@pytest.mark.parametrize("shape", SHAPES, ids=IDS)
def test_the_block_takes_the_token(
    shape: Shape, issuer: Issuer, say: Say, config: Path, tmp_path: Path
) -> None:
    """The server's core allows the token with the block, as what it is, and another's not."""
    token = shape.token(issuer.current)
    status, said = say(token, "--suggest", "--agent", TRAVEL)
    assert status == 1
    block = block_of(said)
    assert block.get("kind", "") == shape.kind
    assert said["suggestion"]["mode"] == shape.mode
    notes = " ".join(said["suggestion"]["notes"])
    assert ("audiences: only if" in notes) == (AUDIENCE not in block["audiences"])

    keys = tmp_path / "jwks.json"
    keys.write_bytes(jwks(issuer, block))
    changes = with_block(block, shape, keys)
    folder = tmp_path / "world"
    folder.mkdir()
    with World(folder, changes) as world:
        assert reason_of(world.ask(token)) == "allow"
        assert world.audit_records()[-1]["mode"] == shape.mode
        another = shape.token(issuer.current, **shape.another)
        assert reason_of(world.ask(another)) != "allow"
        assert reason_of(world.ask(token, principal=PAYMENTS)) != "allow"

    edit(config, changes)
    status, said = say(token)
    assert status == 0
    assert said["accepted"]
    assert say(shape.token(issuer.current, **shape.another), "--agent", TRAVEL)[0] == 1


@pytest.mark.parametrize("shape", SHAPES, ids=IDS)
def test_the_block_is_no_wider_than_the_token(
    shape: Shape, issuer: Issuer, say: Say, config: Path, tmp_path: Path
) -> None:
    """The block has the token's own type, algorithm, audience and actor, and nothing else."""
    block = block_of(say(shape.token(issuer.current), "--suggest", "--agent", TRAVEL)[1])
    keys = tmp_path / "jwks.json"
    keys.write_bytes(jwks(issuer, block))
    edit(config, with_block(block, shape, keys))
    settings = load(config).issuers[0]
    strict = IssuerSettings.model_fields
    named = shape.claims.get("aud", block["audiences"][0]) or shape.claims["client_id"]

    assert settings.typ == (shape.header.get("typ", "JWT"),)
    assert settings.algorithms == ("RS256",)
    assert len(settings.audiences) == 1
    assert settings.audiences[0] in named
    assert len(settings.actor.claim) == 1
    assert len(settings.actor.map) <= 1
    assert not settings.actor.patterns
    assert not settings.actor.issuers
    for name in ("accept_unchecked", "actors_from", "max_actors", "max_lifetime", "clock_skew"):
        assert getattr(settings, name) == strict[name].get_default()


@pytest.mark.parametrize("shape", [*ID_TOKENS, REFRESH], ids=lambda shape: shape.name)
def test_no_block_for_what_is_no_access_token(shape: Shape, issuer: Issuer, say: Say) -> None:
    """For an ID token or a refresh token nothing is suggested, and it is said why."""
    for changes in ({}, {"azp": "client-1"}, {"aud": "other", "azp": "client-1"}):
        status, said = say(shape.token(issuer.current, **changes), "--suggest", "--agent", TRAVEL)

        assert status == 1
        assert said["suggestion"]["block"] is None
        assert "no block should take this token" in said["suggestion"]["notes"][0]


NOTHING: list[tuple[dict[str, Any], str]] = [
    ({"exp": 1700000000, "iat": 1699999000}, "token_expired"),
    ({"iss": None}, "no iss"),
    ({"iss": 7}, "no iss"),
    ({"aud": "account"}, "for nobody"),
    ({"aud": []}, "for nobody"),
    ({"sub": None}, "token_claim"),
    ({"azp": None}, "actor_missing"),
    ({"authorization_details": []}, "token_claim"),
    ({"cnf": {"jwk": {}}}, "cnf_unsupported"),
    ({"scope": ["a b"]}, "token_claim"),
]


@pytest.mark.parametrize(("changes", "why"), NOTHING)
def test_no_block_and_why(changes: dict[str, Any], why: str, issuer: Issuer, say: Say) -> None:
    """What no line should mend is not suggested away."""
    said = say(SHAPES[0].token(issuer.current, **changes), "--suggest")[1]

    assert said["suggestion"]["block"] is None
    assert why in " ".join(said["suggestion"]["notes"])


def test_no_block_for_a_wrong_signature(
    issuer: Issuer, say: Say, config: Path, tmp_path: Path
) -> None:
    """A token that a configured issuer did not sign teaches nothing about that issuer."""
    first = SHAPES[0]
    block = block_of(say(first.token(issuer.current), "--suggest", "--agent", TRAVEL)[1])
    keys = tmp_path / "jwks.json"
    keys.write_bytes(jwks(issuer, block))
    edit(config, with_block(block, first, keys))
    forged = first.token(new_issuer().current, azp="payments-agent")

    status, said = say(forged, "--suggest")
    assert status == 1
    assert said["suggestion"]["block"] is None


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("okta", {"discovery": True}),
        ("kubernetes", {"jwks_uri": "https://kubernetes.default.svc/openid/v1/jwks"}),
        ("spire", {"spiffe_bundle": {"trust_domain": "corp.example", "file": "keys.json"}}),
    ],
)
def test_where_the_keys_are(name: str, keys: Any, issuer: Issuer, say: Say) -> None:
    """The keys of an issuer that the config does not have are where its product has them."""
    shape = next(shape for shape in SHAPES if shape.name == name)
    assert block_of(say(shape.token(issuer.current), "--suggest")[1])["keys"] == keys


def test_a_block_to_paste(
    issuer: Issuer, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lines are YAML; a placeholder stands for an agent that nobody named, and a note says so.

    Of several audiences one that the config has already is chosen.
    """
    path = tmp_path / "token.jwt"
    others = ["account", "https://other.example", "https://mcp.corp.example/finance"]
    path.write_text(SHAPES[0].token(issuer.current, aud=others))
    assert run("token", "check", str(config), str(path), "--suggest") == 1
    printed = capsys.readouterr().out
    _, _, text = printed.rpartition("\n\n")
    (block,) = yaml.safe_load(text)["issuers"]

    assert block["audiences"] == ["https://mcp.corp.example/finance"]
    assert "Its signature was NOT verified" in text
    assert block["keys"] == {"discovery": True}
    assert block["actor"]["map"] == {"travel-agent": "spiffe://corp.example/put-the-agent-here"}
    assert "put the agent's SPIFFE ID in the place of" in text
    assert "audiences: only if" not in text
    assert 'the token is also for ["https://other.example"]' in text


def test_no_other_agent_gets_a_known_agents_value(
    issuer: Issuer, say: Say, config: Path, tmp_path: Path
) -> None:
    """A value that stands for an agent in the config is not suggested for another agent."""
    keys = tmp_path / "jwks.json"
    keys.write_bytes(issuer.jwks())
    first = SHAPES[0]
    block = block_of(say(first.token(issuer.current), "--suggest", "--agent", TRAVEL)[1])
    edit(config, with_block(block, first, keys))

    said = say(first.token(issuer.current), "--suggest", "--agent", PAYMENTS)[1]
    assert said["suggestion"]["block"] is None
    assert "another agent" in " ".join(said["suggestion"]["notes"])
