"""Opaque tokens of a real authorization server, introspected by the real service (RFC 7662)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from lab.ca import Authority
from lab.config_builder import ConfigBuilder
from lab.dpop import DpopClient
from lab.mesh import PAYMENTS, TRAVEL, sample_of
from support.opaque_issuer import SVID, OpaqueIssuer, opaque_config
from support.world import BALANCE, World, check_request, header_of, reason_of, wait_until

GONE = {"url": "http://127.0.0.1:1/introspect", "insecure": True}


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpaqueIssuer]:
    """The server, which no test changes."""
    with OpaqueIssuer(tmp_path_factory.mktemp("issuer")) as running:
        yield running


@pytest.fixture(scope="module")
def user(issuer: OpaqueIssuer) -> dict[str, str]:
    """Alice's tokens for the travel agent."""
    return issuer.user_tokens()


@pytest.fixture
def world(issuer: OpaqueIssuer, tmp_path: Path) -> Iterator[World]:
    """A service that asks the server, with a secret as its credential."""
    with World(tmp_path, issuer.config()) as made:
        yield made


def counted(world: World, issuer: OpaqueIssuer, result: str) -> float:
    """How many questions had this result."""
    text = generate_latest(world.registry).decode()
    labels = f'{{issuer="{issuer.url}",result="{result}"}}'
    return sample_of(text, f"authz_introspection_calls_total{labels}")


def test_a_users_token(world: World, issuer: OpaqueIssuer, user: dict[str, str]) -> None:
    """It is asked about once, allows its agent what its user grants, and is recorded as theirs."""
    token = user["access_token"]
    assert reason_of(world.ask(token)) == "allow"
    assert reason_of(world.ask(token)) == "allow"
    assert reason_of(world.ask(token, path="/finance/other")) == "allow"
    assert counted(world, issuer, "active") == 1
    record = world.audit_records()[0]
    assert (record["principal"], record["issuer"], record["mode"]) == ("alice", issuer.url, "act")
    assert record["actors"] == [{"iss": issuer.url, "sub": TRAVEL}]


def test_another_agents_token(world: World, issuer: OpaqueIssuer, user: dict[str, str]) -> None:
    """A token that names one agent is of no use to another, whatever was remembered of it."""
    token = user["access_token"]
    assert reason_of(world.ask(token)) == "allow"
    svid = world.authority.issue(PAYMENTS)
    message = check_request(svid, [("authorization", f"Bearer {token}")], principal=PAYMENTS)
    assert reason_of(world.check(message)) == "actor_mismatch"
    assert counted(world, issuer, "active") == 1


def test_scope(world: World, user: dict[str, str]) -> None:
    """The answer's scope is the most that the token allows."""
    answer = world.ask(user["access_token"], method="POST", path="/finance/payments/1")
    assert reason_of(answer) == "policy_denied"


@pytest.mark.parametrize("token", ["made-up", "ya29.made_up", "A" * 43])
def test_made_up_tokens(world: World, issuer: OpaqueIssuer, token: str) -> None:
    """What the server never issued is inactive, which is remembered too."""
    for path in (BALANCE, "/finance/other"):
        answer = world.ask(token, path=path)
        assert reason_of(answer) == "token_inactive"
        assert answer.denied_response.status.code == 401
        assert 'error="invalid_token"' in (header_of(answer, "www-authenticate") or "")
    assert counted(world, issuer, "inactive") == 1


def test_other_tokens_of_the_server(world: World, user: dict[str, str]) -> None:
    """A refresh token is active and no access token; an ID token is a JWT, and needs keys."""
    assert reason_of(world.ask(user["refresh_token"])) == "token_typ"
    assert reason_of(world.ask(user["id_token"])) == "token_issuer"


def test_a_clients_own_token(issuer: OpaqueIssuer, tmp_path: Path) -> None:
    """A token without a user is its client's own: refused on delegated routes, whoever it names."""
    token = issuer.own_token()
    mapped = {"claim": "client_id", "map": {"travel": TRAVEL}}
    config = issuer.config(actor=mapped).with_items(
        ("principals",),
        f"[{{match: {{issuer: '{issuer.url}', subjects: [travel]}}, grants: [finance-read]}}]",
    )
    with World(tmp_path, config) as world:
        assert reason_of(world.ask(token)) == "principal_required"
    own = config.with_(("routes", "finance", "modes"), ["delegated", "autonomous"])
    with World(tmp_path / "own", own) as world:
        assert reason_of(world.ask(token)) == "allow"
        record = world.audit_records()[0]
        assert (record["mode"], record["principal"]) == ("autonomous", "travel")


def test_a_revoked_token(issuer: OpaqueIssuer, tmp_path: Path) -> None:
    """It is accepted for max_age at most after the issuer revoked it."""
    given = {"client_id": "authz", "client_secret_file": str(issuer.secret_file), "max_age": "1s"}
    with World(tmp_path, issuer.config(given)) as world:
        token = issuer.user_tokens()["access_token"]
        assert reason_of(world.ask(token)) == "allow"
        issuer.revoke(token)
        wait_until(lambda: reason_of(world.ask(token)) == "token_inactive")
        assert counted(world, issuer, "active") >= 1


def test_it_ends_with_its_exp(tmp_path: Path) -> None:
    """A token's own exp ends it before max_age does."""
    with (
        OpaqueIssuer(tmp_path, seconds=2) as issuer,
        World(tmp_path, issuer.config(clock_skew="0s")) as world,
    ):
        token = issuer.user_tokens()["access_token"]
        if reason_of(world.ask(token)) == "allow":  # else it ended before the first look
            wait_until(lambda: reason_of(world.ask(token)) == "token_expired")


def test_dpop(world: World, issuer: OpaqueIssuer) -> None:
    """A token that the answer says is bound to a DPoP key needs a proof by that key, once each."""
    client = DpopClient()
    token = issuer.user_tokens(dpop=client)["access_token"]
    uri = f"https://mcp.corp.example{BALANCE}"

    def ask(scheme: str, proof: str | None) -> str:
        headers = [("authorization", f"{scheme} {token}")]
        headers += [] if proof is None else [("dpop", proof)]
        return reason_of(world.check(check_request(world.svid, headers)))

    proof = client.proof(token, "GET", uri)
    assert ask("DPoP", proof) == "allow"
    assert ask("DPoP", proof) == "dpop_proof"
    assert ask("Bearer", None) == "pop_missing"
    assert ask("DPoP", DpopClient().proof(token, "GET", uri)) == "cnf_mismatch"


def private_key_jwt(issuer: OpaqueIssuer, folder: Path, **changes: Any) -> ConfigBuilder:
    """A config whose credential is a private key."""
    key = folder / "key.pem"
    key.write_text(issuer.key_pem)
    given = {"key_file": str(key), "algorithm": "ES256", "key_id": "authz-key", **changes}
    return issuer.config({"client_id": "keyed", "private_key_jwt": given})


def test_private_key_jwt(issuer: OpaqueIssuer, user: dict[str, str], tmp_path: Path) -> None:
    """An assertion by our key authenticates us, each time a new one: none is accepted twice."""
    with World(tmp_path, private_key_jwt(issuer, tmp_path)) as world:
        assert reason_of(world.ask(user["access_token"])) == "allow"
        assert reason_of(world.ask("made-up")) == "token_inactive"


def test_a_wrong_audience_of_assertions(
    issuer: OpaqueIssuer, user: dict[str, str], tmp_path: Path
) -> None:
    """An assertion for another server does not authenticate us, and nothing is allowed."""
    config = private_key_jwt(issuer, tmp_path, audience="https://another.example")
    with World(tmp_path, config) as world:
        assert reason_of(world.ask(user["access_token"])) == "status_unavailable"


def test_a_client_certificate(tmp_path: Path) -> None:
    """Our certificate authenticates us (RFC 8705 section 2.1), and another one does not."""
    authority = Authority(tmp_path / "as")
    with OpaqueIssuer(tmp_path, tls=authority) as issuer:
        token = issuer.user_tokens()["access_token"]
        for name, expected in ((SVID, "allow"), (TRAVEL, "status_unavailable")):
            svid = authority.issue(name)
            tls = {"certificate": str(svid.certificate_path), "private_key": str(svid.key_path)}
            folder = tmp_path / expected
            folder.mkdir()
            with World(folder, issuer.config({"client_id": "certified", "tls": tls})) as world:
                assert reason_of(world.ask(token)) == expected


def test_a_renewed_client_certificate(tmp_path: Path) -> None:
    """The next question shows it: the files are those of now."""
    authority = Authority(tmp_path / "as")
    with OpaqueIssuer(tmp_path, tls=authority) as issuer:
        token = issuer.user_tokens()["access_token"]
        shown, renewed = authority.issue(TRAVEL), authority.issue(SVID)
        tls = {"certificate": str(shown.certificate_path), "private_key": str(shown.key_path)}
        config = issuer.config({"client_id": "certified", "tls": tls})
        with World(tmp_path, config) as world:
            assert reason_of(world.ask(token)) == "status_unavailable"
            renewed.certificate_path.rename(shown.certificate_path)
            renewed.key_path.rename(shown.key_path)

            assert reason_of(world.ask(token)) == "allow"


@pytest.mark.parametrize("signed", ["optional", "required"])
def test_signed_answers(
    issuer: OpaqueIssuer, user: dict[str, str], tmp_path: Path, signed: str
) -> None:
    """Answers that the server signs are verified with its keys (RFC 9701)."""
    config = issuer.config(
        {"client_id": "authz", "client_secret_file": str(issuer.secret_file), "signed": signed},
        keys={"jwks_uri": f"{issuer.url}/jwks", "insecure": True},
        algorithms=["RS256"],
    )
    with World(tmp_path, config) as world:
        assert reason_of(world.ask(user["access_token"])) == "allow"
        assert reason_of(world.ask("made-up")) == "token_inactive"


def test_a_wrong_secret(issuer: OpaqueIssuer, user: dict[str, str], tmp_path: Path) -> None:
    """The server refuses us: nothing is allowed, and the record says why."""
    wrong = tmp_path / "wrong.secret"
    wrong.write_text("wrong")
    config = issuer.config({"client_id": "authz", "client_secret_file": str(wrong)})
    with World(tmp_path, config) as world:
        answer = world.ask(user["access_token"])
        assert reason_of(answer) == "status_unavailable"
        assert answer.denied_response.status.code == 503
        assert "status 401" in world.audit_records()[0]["detail"]


def test_a_server_that_is_gone(tmp_path: Path) -> None:
    """While the server is gone remembered tokens go on until max_age, and others are refused."""
    with OpaqueIssuer(tmp_path) as issuer, World(tmp_path, issuer.config()) as world:
        known = issuer.user_tokens()["access_token"]
        unknown = issuer.user_tokens()["access_token"]
        assert reason_of(world.ask(known)) == "allow"
        issuer.stop()
        assert reason_of(world.ask(known, path="/finance/other")) == "allow"
        for _ in range(7):
            assert reason_of(world.ask(unknown)) == "status_unavailable"
        assert world.parts.introspections.status()[0].is_cut_off
        assert counted(world, issuer, "cut_off") == 2


def test_a_reload_forgets_answers(world: World, issuer: OpaqueIssuer, user: dict[str, str]) -> None:
    """Answers are of the settings by which they were asked for: others ask anew."""
    assert reason_of(world.ask(user["access_token"])) == "allow"
    world.parts.reconfigure(world.configure(issuer.config(max_lifetime="1h")))
    assert reason_of(world.ask(user["access_token"])) == "allow"
    assert counted(world, issuer, "active") == 2
    world.parts.reconfigure(world.configure(opaque_config("https://elsewhere.example", GONE)))
    assert reason_of(world.ask(user["access_token"])) == "status_unavailable"
