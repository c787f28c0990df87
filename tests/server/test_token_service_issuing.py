"""The token service issues what was decided: chains, bindings, consents; and records it."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from authz.review.audit_files import AuditLogs
from authz.review.audit_records import read_records
from lab.config_builder import LAB
from lab.dpop import DpopClient
from lab.issuer import MADE
from lab.mesh import ISSUER, ORCHESTRATOR, TRAVEL
from support.sts_server import STS, TokenServiceWorld, noted
from support.world import wait_until


@pytest.fixture
def world(tmp_path: Path) -> Iterator[TokenServiceWorld]:
    """A token service's files, its issuer and its CA."""
    with TokenServiceWorld(tmp_path) as made:
        yield made


def _claims(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    token = answer.json()["access_token"]
    MADE.append(token)
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def test_a_chain_grows_by_one_agent_a_hop(world: TokenServiceWorld) -> None:
    """Alice's token, the orchestrator's for the travel agent, then that agent's own."""
    at_travel = "https://travel.corp.example"
    own = f"- {{issuer: {STS}, keys: {{jwks_uri: {STS}/jwks.json}}, audiences: [{STS}]}}"
    world.write_config(
        LAB.with_items(("issuers",), own, before=1)
        .with_(("sts", "rules", 0, "audiences"), [at_travel])
        .with_(("sts", "rules", 1, "subject_audiences"), [at_travel])
    )
    with world.serving(), world.client() as orchestrator, world.client(TRAVEL) as travel:
        first = world.exchange(orchestrator, resource=at_travel)
        assert _claims(first)["act"]["sub"] == ORCHESTRATOR
        second = world.exchange(travel, subject_token=first.json()["access_token"])
        claims = _claims(second)
        assert claims["sub"] == "alice"
        assert claims["act"]["sub"] == TRAVEL
        assert claims["act"]["act"]["sub"] == ORCHESTRATOR
        stolen = world.exchange(orchestrator, subject_token=second.json()["access_token"])
        assert stolen.status_code == 400
        assert second.json()["expires_in"] <= first.json()["expires_in"]


def test_a_new_key_of_an_issuer_is_learned(world: TokenServiceWorld) -> None:
    """A token signed by a key that was just published waits for its fetch, and is accepted."""
    with world.serving(), world.client() as agent:
        assert world.exchange(agent).status_code == 200
        world.issuer.rotate()
        wait_until(lambda: world.exchange(agent).status_code == 200)
        assert world.jwks.fetches >= 2


def test_a_proof_binds_the_token_once(world: TokenServiceWorld) -> None:
    """RFC 9449 section 5: the token has the key of the proof, which no second request may use."""
    dpop = DpopClient()
    headers = {"dpop": dpop.proof("", "POST", f"{STS}/token", ath=None)}
    with world.serving(), world.client() as agent:
        answer = noted(agent.post("/token", data=world.form(), headers=headers))
        assert answer.json()["token_type"] == "DPoP"
        assert _claims(answer)["cnf"]["jkt"] == dpop.confirmation["jkt"]
        again = noted(agent.post("/token", data=world.form(), headers=headers))
        elsewhere = {"dpop": dpop.proof("", "POST", f"{STS}/other", ath=None)}
        other = noted(agent.post("/token", data=world.form(), headers=elsewhere))
    for refused in (again, other):
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_dpop_proof")


def test_consent_is_asked_for_when_it_is_needed(world: TokenServiceWorld) -> None:
    """Without it the request is refused; once it is given it counts at once, until taken back."""
    consents = world.folder / "consents.jsonl"
    consents.touch()
    world.write_config(
        LAB.with_section("consents", f"{{file: {consents}}}").with_(
            ("sts", "rules", 0, "consent"), "required"
        )
    )
    with world.serving(), world.client() as agent:
        refused = world.exchange(agent)
        assert (refused.status_code, refused.json()["error"]) == (400, "consent_required")
        consents.write_text(json.dumps(_consent()) + "\n")
        wait_until(lambda: world.exchange(agent).status_code == 200)
        consents.write_text("")
        wait_until(lambda: world.exchange(agent).status_code == 400)
    issued = [one for one in world.audit_records() if one["decision"] == "allow"]
    assert issued[0]["issuance"]["consent"]


def _consent() -> dict[str, str]:
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
    return {
        "issuer": ISSUER,
        "subject": "alice",
        "agent": ORCHESTRATOR,
        "until": until,
    }


def test_what_is_not_recorded_is_not_issued(world: TokenServiceWorld) -> None:
    """Where records are demanded, a full or broken log gives no token away."""
    world.write_config(
        LAB.with_(("audit", "path"), "/dev/full").with_(("audit", "when_full"), "deny")
    )
    with world.serving() as process, world.client() as agent:
        world.exchange(agent)
        wait_until(lambda: not process.readiness()[0])
        answer = world.exchange(agent)
    assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")


def test_reviews_leave_token_requests_out(world: TokenServiceWorld) -> None:
    """Replay and tests of policies read the log, in which nobody asked for a check."""
    with world.serving(), world.client() as agent:
        assert world.exchange(agent).status_code == 200
        wait_until(world.audit_records)
    assert list(read_records(AuditLogs([world.audit_path]))) == []


def test_records_are_redacted(world: TokenServiceWorld) -> None:
    """What the config drops from records is not in those of tokens."""
    world.write_config(LAB.with_(("audit", "redact"), {"drop": ["principal", "scopes", "actors"]}))
    with world.serving(), world.client() as agent:
        assert world.exchange(agent).status_code == 200
    (record,) = world.audit_records()
    assert "alice" not in json.dumps(record)
    assert (record["principal"], record["issuance"]["scopes"]) == ("", [])


def test_a_chained_log_has_a_name_of_its_own(world: TokenServiceWorld) -> None:
    """Beside a server's, in the same file, its log is another tree."""
    from authz.cli import main  # noqa: PLC0415 - only here

    key = world.folder / "audit.pem"
    assert main(["audit", "key", str(key)]) == 0
    chain = {"key": str(key), "name": "lab"}
    world.write_config(LAB.with_(("audit", "chain"), chain))
    with world.serving(), world.client() as agent:
        assert world.exchange(agent).status_code == 200
    opened = world.audit_records()[0]
    assert opened["server"] == "lab.sts"
