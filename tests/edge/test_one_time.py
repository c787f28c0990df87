"""Tokens of an issuer with one_time: each lets one HTTP request pass, and no other."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from authz._pb import ext_authz_pb2 as pb
from authz.cli import main
from lab.config_builder import AT_ISSUER, LAB
from lab.dpop import DpopClient
from lab.mesh import TRAVEL, sample_of
from support.jwks_server import ScriptedServer, answer
from support.opaque_issuer import opaque_config
from support.world import BALANCE, HOST, World, check_request, header_of, reason_of

URI = f"https://{HOST}{BALANCE}"
ONCE = LAB.with_((*AT_ISSUER, "one_time"), True)


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A service that takes tokens once; no test changes it."""
    with World(tmp_path_factory.mktemp("once"), ONCE) as made:
        yield made


def sent(
    world: World,
    token: str,
    proof: str | None = None,
    *,
    name: tuple[str, int] = ("", 0),
    **changes: Any,
) -> pb.CheckRequest:
    """A request with a token; the proxy's id and the seconds name it among all requests."""
    scheme = "Bearer" if proof is None else "DPoP"
    headers = [("authorization", f"{scheme} {token}"), *([("dpop", proof)] if proof else [])]
    message = check_request(world.svid, headers, **changes)
    message.attributes.request.http.id, message.attributes.request.time.seconds = name
    return message


def test_one_request(once: World) -> None:
    """A second request is refused, on any path; the client is told to get another token."""
    token = once.token()
    answers = [once.ask(token, path=path) for path in (BALANCE, BALANCE, "/finance/other")]

    assert [reason_of(each) for each in answers] == ["allow", "token_used", "token_used"]
    challenge = header_of(answers[1], "www-authenticate") or ""
    assert answers[1].denied_response.status.code == 401
    assert challenge.startswith('Bearer error="invalid_token", ')
    record = once.audit_records()[-1]
    assert (record["reason"], record["detail"]) == ("token_used", "the token was used before")
    assert (record["agent"], record["principal"]) == (TRAVEL, "alice")


def test_a_retry_of_the_proxy(once: World) -> None:
    """The same HTTP request passes again, also after others were refused; no other one does."""
    token = once.token()
    others = [("1", 1001), ("2", 1000), ("", 0)]

    for _ in range(3):  # the reader knows the third message by its outline
        assert reason_of(once.check(sent(once, token, name=("1", 1000)))) == "allow"
        for other in others:
            assert reason_of(once.check(sent(once, token, name=other))) == "token_used"


def test_without_a_name_each_check_is_a_request(once: World) -> None:
    """A proxy that sends no id, or no time, can't ask twice."""
    for name in (("", 0), ("1", 0), ("", 1000)):
        token = once.token()
        reasons = [reason_of(once.check(sent(once, token, name=name))) for _ in range(2)]
        assert reasons == ["allow", "token_used"]


def test_a_refused_request_uses_nothing(once: World) -> None:
    """A token is used by what its rules allow; what was refused may be remembered."""
    token = once.token(scope="other:read")
    assert [reason_of(once.ask(token)) for _ in range(2)] == ["scope", "scope"]

    token = once.token()
    assert reason_of(once.ask(token, method="DELETE")) == "policy_denied"
    assert reason_of(once.ask(token)) == "allow"


def test_tokens_are_apart(once: World) -> None:
    """A token is named by its jti: another of the same session passes, the same jti does not."""
    for number in range(3):
        assert reason_of(once.ask(once.token(jti=f"a-{number}"))) == "allow"
    assert reason_of(once.ask(once.token(jti="a-1", exp=int(time.time()) + 60))) == "token_used"


@pytest.mark.parametrize(
    ("claims", "header"),
    [
        ({"jti": None}, None),
        ({"jti": ""}, None),
        ({"jti": 5}, None),
        ({"jti": None}, {"typ": "JWT"}),
        ({"iat": None}, None),
    ],
)
def test_a_token_that_can_not_be_named(
    tmp_path: Path, claims: dict[str, Any], header: dict[str, str] | None
) -> None:
    """Without jti and iat it is refused, whatever its type."""
    changes = ONCE.with_((*AT_ISSUER, "typ"), ["at+jwt", "JWT"])
    with World(tmp_path, changes) as world:
        token = world.token(header=header, **claims)
        assert reason_of(world.ask(token)) == "token_claim"
        assert len(world.service.snapshot.authorizer.delegations) == 0  # type: ignore[arg-type]


def test_with_a_proof_both_are_used(once: World) -> None:
    """A used proof is refused as a proof, and a fresh proof for a used token as the token."""
    client = DpopClient()
    token = once.token(cnf=client.confirmation)
    proofs = [client.proof(token, "GET", URI) for _ in range(2)]
    reasons = [
        reason_of(once.check(sent(once, token, proof, name=name)))
        for proof in proofs
        for name in (("1", 5), ("1", 5), ("", 0))
    ]

    # The second proof is another one of the same request, as no honest proxy sends it.
    assert reasons == ["allow", "allow", "dpop_proof", "allow", "allow", "dpop_proof"]
    another = client.proof(token, "GET", URI)
    answer = once.check(sent(once, token, another, name=("2", 5)))
    assert reason_of(answer) == "token_used"
    assert (header_of(answer, "www-authenticate") or "").startswith("DPoP ")


def test_nothing_of_it_is_remembered(tmp_path: Path) -> None:
    """No cache grows by one-time tokens, and none answers; other issuers' tokens are as ever."""
    with World(tmp_path, ONCE) as world:
        for _ in range(5):
            assert reason_of(world.ask(world.token())) == "allow"
        status = world.service.status()
        text = generate_latest(world.registry).decode()

        assert status.cache.entries == 0
        assert len(world.service.snapshot.authorizer.delegations) == 0  # type: ignore[arg-type]
        assert not any(record["cache"] == "hit" for record in world.audit_records())
        assert sample_of(text, 'authz_single_uses_total{kind="token",result="passed"}') == 5


def test_used_over_a_reload(tmp_path: Path) -> None:
    """Another version of the settings knows what was used under the last."""
    with World(tmp_path, ONCE) as world:
        token = world.token()
        assert reason_of(world.ask(token)) == "allow"
        world.parts.reconfigure(world.configure(ONCE.with_((*AT_ISSUER, "clock_skew"), "1m")))
        assert reason_of(world.ask(token)) == "token_used"


def opaque(**changes: Any) -> bytes:
    """An answer about an opaque token of the travel agent; None leaves a member out."""
    now = int(time.time())
    members = {
        "active": True,
        "iss": "https://opaque.example",
        "sub": "alice",
        "aud": "https://mcp.corp.example/finance",
        "client_id": "travel-client",
        "scope": "balance:read",
        "token_type": "Bearer",
        "act": {"sub": TRAVEL},
        "iat": now,
        "exp": now + 600,
        "jti": "opaque-1",
    } | changes
    kept = {name: value for name, value in members.items() if value is not None}
    return json.dumps(kept).encode()


def test_opaque_tokens(tmp_path: Path) -> None:
    """They are named by the answer's jti; an answer that lacks what that needs is refused."""
    server = ScriptedServer(answer(opaque(), 200, "application/json"))
    asked = {"url": server.url, "insecure": True, "timeout": "10s"}
    changes = opaque_config("https://opaque.example", asked, keys={}, one_time=True)
    try:
        with World(tmp_path, changes) as world:
            assert [reason_of(world.ask("token-1")) for _ in range(2)] == ["allow", "token_used"]
            assert reason_of(world.ask("token-2")) == "token_used"  # of the same jti
            for number, name in enumerate(("jti", "iat", "exp")):
                server.paths["/jwks"] = answer(opaque(**{name: None}), 200, "application/json")
                assert reason_of(world.ask(f"without-{number}")) == "token_claim"
                assert f"no {name}, which" in world.audit_records()[-1]["detail"]
    finally:
        server.close()


def test_verbs_read_records_of_uses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A replay of the log asks no memory: what another request had used is not policy's doing."""
    with World(tmp_path, ONCE) as world:
        token = world.token()
        assert [reason_of(world.ask(token)) for _ in range(3)] == ["allow", *["token_used"] * 2]
        used = world.audit_records()[-1]
    config = tmp_path / "authz.yaml"
    config.write_text(world.config_text)

    assert (
        main(["replay", str(config), "--audit", str(world.audit_path), "--strict", "--json"]) == 0
    )
    report = json.loads(capsys.readouterr().out)
    assert (report["unchanged"], report["not_by_policy"]) == (1, 2)
    log, decision_id = str(world.audit_path), used["decision_id"]
    main(["explain", str(config), "--audit", log, "--decision-id", decision_id])
    assert "token_used" in capsys.readouterr().out


def test_token_check_names_what_is_missing(
    once: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It finds the same faults, and asks no memory: a used token is as good as another."""
    config = tmp_path / "authz.yaml"
    config.write_text(once.config_text)
    file = tmp_path / "token"
    command = ["token", "check", str(config), str(file), "--agent", TRAVEL]
    token = once.token()
    assert reason_of(once.ask(token)) == "allow"
    file.write_text(token)
    assert main(command) == 0
    capsys.readouterr()

    file.write_text(once.token(iat=None, jti=None))
    assert main(command) == 1
    told = capsys.readouterr().out
    assert "its jti is missing" in told
    assert "its iat is missing" in told
