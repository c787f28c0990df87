"""Records of a server that redacts: no redacted text is in any output but the proxy's answers."""

import json
import logging
import time
from collections.abc import Iterator
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any, Final

import pytest
from prometheus_client import generate_latest

from authz.core.spiffe.svid import checked_svid
from authz.wiring.files import BuildError
from lab.config_builder import AT_READ_RULE, LAB, ConfigBuilder
from lab.dpop import DpopClient
from lab.issuer import b64
from lab.mesh import ISSUER, TRAVEL
from support.verbs import run
from support.world import BALANCE, HOST, READ, World, check_request, reason_of

WHOM: Final = "alice.liddell@corp.example"
TEAM: Final = "blue-team-7"
PATH: Final = "/finance/accounts/acct-4711-alice.liddell%40corp.example"
MODE: Final = "for-alice.liddell@corp.example"
ID: Final = "request-of-alice"
TRACE: Final = "a" * 32
HASHED: Final = ("principal", "agent", "host", "path", "claims")
DROPPED: Final = ("headers", "request_id", "trace_id")
SECRETS: Final = (WHOM, "liddell", TEAM, "acct-4711", HOST, TRAVEL, "sa/travel", MODE, ID, TRACE)
MATCH: Final = (
    f"- {{match: {{issuer: '{ISSUER}', claims: {{team: [{TEAM}]}}}}, grants: [finance-read]}}"
)


def redacting(folder: Path, **redact: Any) -> ConfigBuilder:
    """The lab's config with redaction, rules that read claims and headers, and other routes."""
    key = folder / "redaction.key"
    key.write_bytes(b"k" * 32)
    keys = {"key_file": str(key)} if redact.get("hash") else {}
    return (
        LAB.with_(("audit", "redact"), {**redact, **keys})
        .with_principals(MATCH)
        .with_keys(AT_READ_RULE, "{headers: {x-mode: ['for-**']}}")
        .with_routes("- {name: jobs, paths: [/jobs/**], modes: [autonomous], token: optional}")
        .with_section("shadow", "true")
    )


def ask(world: World, token: str | None, path: str = PATH, **changes: Any) -> str:
    """Ask with everything that could be quoted, and return the outcome."""
    headers = [("x-mode", MODE), ("x-request-id", ID), ("traceparent", f"00-{TRACE}-{'b' * 16}-01")]
    headers += [] if token is None else [("authorization", f"Bearer {token}")]
    return reason_of(world.check(check_request(world.svid, headers, path=path, **changes)))


def asked(world: World) -> Iterator[str]:
    """Ask in many ways, and yield the outcomes."""

    def token(**changes: Any) -> str:
        return world.token(**{"sub": WHOM, "team": TEAM, **changes})

    first = token()
    yield ask(world, first)
    yield ask(world, first)  # remembered
    yield ask(world, token(jti="another"))  # of the same terms
    yield ask(world, token(scope="other"))
    yield ask(world, token(team="other", aud=f"https://{HOST}/other"))
    yield ask(world, token(exp=int(time.time()) - 3600))
    yield ask(world, token(act={"sub": WHOM}))
    yield ask(world, f"{first[:-4]}AAAA")
    yield ask(world, None)
    yield ask(world, None, f"/jobs/{WHOM}")
    yield ask(world, first, f"/finance/../{WHOM}")
    yield ask(world, first, principal=f"{TRAVEL}/{WHOM}")
    yield ask(world, token(act={"sub": TRAVEL, "act": {"sub": f"{ISSUER}/{WHOM}"}}))
    yield ask(world, first, PATH, method="POST")


def outputs(world: World, caplog: pytest.LogCaptureFixture) -> str:
    """All that the server told of the decisions, but for its answers to the proxy."""
    world.audit_records()
    told = [record.getMessage() + str(record.__dict__) for record in caplog.records]
    texts = (world.audit_path.read_text(), generate_latest(world.registry).decode(), *told)
    return "\n".join(texts).casefold()


@pytest.mark.parametrize(
    "redact",
    [{"hash": [*HASHED], "drop": [*DROPPED]}, {"drop": ["principal", "actors", "path", *DROPPED]}],
    ids=["hashed", "dropped"],
)
def test_no_redacted_text_in_any_output(
    redact: dict[str, list[str]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever a request's outcome is, no output of the server holds a redacted text of it."""
    caplog.set_level(logging.DEBUG)
    with World(tmp_path, redacting(tmp_path, **redact)) as world:
        outcomes = set(asked(world))
        told = outputs(world, caplog)
        records = world.audit_records()
    assert len(outcomes) >= 7, outcomes
    secrets = SECRETS if "hash" in redact else (WHOM, "liddell", MODE, ID, TRACE)
    assert [secret for secret in secrets if secret.casefold() in told] == []
    fields = sorted(chain(*redact.values()))
    assert all(record["redacted"] == fields for record in records)
    assert len({record["principal"] for record in records if record["principal"]}) == (
        2 if "hash" in redact else 0  # alice and, for itself, the agent
    )


def test_without_redaction_the_texts_are_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The same requests leave each of the texts in records that are not redacted."""
    with World(tmp_path, redacting(tmp_path)) as world:
        assert len(set(asked(world))) >= 7
        told = outputs(world, caplog)
    assert [secret for secret in SECRETS if secret.casefold() not in told] == []


def test_readers_say_that_records_are_redacted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """explain, replay and suggest name the redaction, and guess nothing."""
    config = tmp_path / "c.yaml"
    with World(tmp_path, redacting(tmp_path, hash=["path"])) as world:
        config.write_text(world.config_text)
        list(asked(world))
        record = world.audit_records()[0]
    log = ["--audit", str(world.audit_path)]

    assert run("explain", str(config), *log, "--decision-id", record["decision_id"]) == 1
    assert "audit.redact has redacted its path" in capsys.readouterr().err
    assert run("replay", str(config), *log, "--json") == 0
    assert json.loads(capsys.readouterr().out)["redacted"]["count"] == 0  # by the same policy
    config.write_text(world.config_text.replace("balance:read", "balance:see"))
    assert run("replay", str(config), *log, "--json") == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["lost_fields"], report["newly_allowed"]["count"]) == (["path"], 0)
    assert report["redacted"]["count"] > 0
    assert run("suggest", str(config), *log) == 0
    assert "records are redacted (audit.redact)" in capsys.readouterr().out


@pytest.mark.parametrize("content", [None, b"short"], ids=["missing", "short"])
def test_a_key_that_can_not_be_used(content: bytes | None, tmp_path: Path) -> None:
    """Without a proper key the server does not start, and names the config's key."""
    changes = redacting(tmp_path, hash=["principal"])
    key = tmp_path / "redaction.key"
    key.unlink()
    if content is not None:
        key.write_bytes(content)
    with pytest.raises(BuildError, match=r"audit\.redact\.key_file"):
        World(tmp_path, changes)


def test_members_of_each_outcome(world: World) -> None:
    """A record names the presented token, the proof, the status and the challenge."""
    token = world.token()
    own = checked_svid(world.svid.certificate_pem, time.time(), "it").thumbprint
    world.ask(token)
    world.ask(world.token(cnf={"x5t#S256": own}))
    world.ask(world.token(scope="other"))
    world.ask(f"{token[:-4]}AAAA")
    world.ask(None)
    world.ask(world.token(), path="/nowhere")
    client = DpopClient()
    held = world.token(cnf={**client.confirmation, "x5t#S256": own})
    proof = client.proof(held, "GET", f"https://{HOST}{BALANCE}")
    world.check(check_request(world.svid, [("authorization", f"DPoP {held}"), ("dpop", proof)]))
    allow, bound, scope, forged, missing, nowhere, proven = world.audit_records()

    assert len({one["token_hash"] for one in (allow, bound, scope, forged, nowhere)}) == 5
    assert missing["token_hash"] == ""
    assert (allow.get("proof"), bound["proof"], proven["proof"]) == (None, "mtls", "dpop+mtls")
    assert proven["token_hash"] == b64(sha256(held.encode()).digest())  # the proof's ath
    assert "status" not in allow
    assert "challenge" not in allow
    assert [one["status"] for one in (scope, forged, missing, nowhere)] == [403, 401, 401, 403]
    assert f'scope="{READ}"' in scope["challenge"]
    assert forged["challenge"].startswith('Bearer error="invalid_token"')
    assert "challenge" not in nowhere
