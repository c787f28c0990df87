"""The token service asks for the principal's consent where a rule does."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import httpx
import jwt
import pytest
from prometheus_client import generate_latest

from authz.adapters.single_use import SingleUses
from authz.core.consents import READER
from authz.server.sts_process import StsProcess
from lab.config_builder import LAB
from lab.dpop import DpopClient
from lab.mesh import AUDIENCE, ORCHESTRATOR
from support.redis_server import RedisServer
from support.sts_server import STS, TokenServiceWorld
from support.verbs import run
from support.world import READ, wait_until

CALL: Final = {"type": "https://corp.example/authz/call", "arguments": {"amount": 620}}
ASKING: Final = LAB.with_(("sts", "rules", 0, "consent"), "required").and_(
    LAB.with_(("sts", "rules", 0, "authorization_details"), [CALL["type"]])
)
ASKERS: Final = 6


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenServiceWorld]:
    """A token service with a file of consents."""
    folder = tmp_path_factory.mktemp("sts")
    (folder / "consents.jsonl").touch()
    changes = ASKING.and_(LAB.with_section("consents", f"{{file: '{folder}/consents.jsonl'}}"))
    with TokenServiceWorld(folder, changes) as made:
        yield made


@pytest.fixture(scope="module", autouse=True)
def service(world: TokenServiceWorld) -> Iterator[StsProcess]:
    """Run it."""
    with world.serving() as process:
        yield process


@pytest.fixture(scope="module")
def agent(world: TokenServiceWorld, service: StsProcess) -> Iterator[httpx.Client]:
    """The orchestrator."""
    del service
    with world.client() as client:
        yield client


@pytest.fixture(autouse=True)
def nothing(world: TokenServiceWorld) -> None:
    """Begin without consents."""
    (world.folder / "consents.jsonl").write_bytes(b"")


def give(world: TokenServiceWorld, subject: str, *flags: str) -> str:
    """Give a consent by the command, and return its id."""
    whose = ("--issuer", world.issuer.url, "--subject", subject, "--agent", ORCHESTRATOR)
    assert run("consent", str(world.config_path), *whose, *flags) == 0
    path = world.folder / "consents.jsonl"
    return READER.read(path.read_bytes().splitlines()[-1]).id


def ask(world: TokenServiceWorld, agent: httpx.Client, subject: str, **more: str) -> httpx.Response:
    """Ask for a token for a principal."""
    return world.exchange(agent, subject_token=world.subject(subject), **more)


def error(answer: httpx.Response) -> tuple[int, Any]:
    """The status and the error of an answer."""
    return answer.status_code, answer.json().get("error")


def test_consent_is_asked_for_given_and_taken_back(
    world: TokenServiceWorld, agent: httpx.Client, capsys: pytest.CaptureFixture[str]
) -> None:
    """No token without consent, one with the next request, none after it was taken back."""
    give(world, "bob", "--for", "1h")
    assert error(ask(world, agent, "alice")) == (400, "consent_required")
    name = give(world, "alice", "--scope", READ, "--audience", AUDIENCE, "--for", "1h")
    assert ask(world, agent, "alice").status_code == httpx.codes.OK
    wait_until(lambda: any(name in json.dumps(record) for record in world.audit_records()))
    assert run("consents", str(world.config_path), "--id", name, "--take-back") == 0
    assert error(ask(world, agent, "alice")) == (400, "consent_required")
    capsys.readouterr()


def test_a_consent_taken_back_during_a_wait_counts_no_more(
    world: TokenServiceWorld,
    agent: httpx.Client,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Until a proof is marked as used, seconds may pass: the consent must be there after that."""
    give(world, "alice", "--for", "1h")
    use, between = SingleUses.use, list[tuple[int, Any]]()

    def used(uses: SingleUses, *use_of: Any, **more: Any) -> Any:
        found = use(uses, *use_of, **more)
        (world.folder / "consents.jsonl").write_bytes(b"")
        between.append(error(ask(world, agent, "alice")))
        return found

    monkeypatch.setattr(SingleUses, "use", used)
    proof = DpopClient().proof("", "POST", f"{STS}/token", ath=None)
    with world.client(headers={"dpop": proof}) as slow:
        answer = ask(world, slow, "alice")
    assert [*between, error(answer)] == [(400, "consent_required")] * 2
    capsys.readouterr()


def test_a_scrape_counts_consents(
    world: TokenServiceWorld, service: StsProcess, agent: httpx.Client
) -> None:
    """Consents, and lines that are none, as the last request found them."""
    give(world, "bob", "--for", "1h")
    with (world.folder / "consents.jsonl").open("ab") as file:
        file.write(b"{\n")
    assert error(ask(world, agent, "alice")) == (400, "consent_required")
    shown = generate_latest(service.metrics.registry).decode()
    assert 'authz_sts_consents{source="file"} 1.0' in shown
    assert 'authz_sts_consents_invalid{source="file"} 1.0' in shown


def test_a_token_ends_with_its_consent(
    world: TokenServiceWorld, agent: httpx.Client, capsys: pytest.CaptureFixture[str]
) -> None:
    """No token outlives the consent by which it was made."""
    give(world, "alice", "--for", "60s")
    answer = ask(world, agent, "alice")
    assert answer.json()["expires_in"] <= 60
    capsys.readouterr()


def test_one_token_for_one_call(
    world: TokenServiceWorld, agent: httpx.Client, capsys: pytest.CaptureFixture[str]
) -> None:
    """Consent to one call, once, gives one token with this call, of many that are asked for."""
    flags = ("--details", json.dumps(CALL), "--audience", AUDIENCE, "--scope", READ)
    name = give(world, "alice", *flags, "--for", "1h")
    other = {**CALL, "arguments": {"amount": 621}}
    refused = ask(world, agent, "alice", authorization_details=json.dumps([other]))
    assert error(refused) == (400, "consent_required")
    asked = json.dumps([CALL])

    def one(_: int) -> httpx.Response:
        with world.client() as client:
            return ask(world, client, "alice", authorization_details=asked)

    with ThreadPoolExecutor(ASKERS) as pool:
        answers = list(pool.map(one, range(ASKERS)))
    given = [answer for answer in answers if answer.status_code == httpx.codes.OK]
    assert len(given) == 1
    assert {error(each) for each in answers if each is not given[0]} == {(400, "consent_required")}
    claims = jwt.decode(given[0].json()["access_token"], options={"verify_signature": False})
    [element] = claims["authorization_details"]
    assert element.keys() - CALL.keys() == {"jti", "iat", "exp"}
    assert element["jti"].startswith(name)
    assert given[0].json()["authorization_details"] == [element]
    assert "alice" not in (world.folder / "consents.jsonl").read_text()
    capsys.readouterr()


def test_many_tokens_for_one_call(
    world: TokenServiceWorld, agent: httpx.Client, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where a consent is for many tokens, what they approve has one name, of the consent's own."""
    flags = ("--details", json.dumps(CALL), "--audience", AUDIENCE, "--scope", READ)
    name = give(world, "alice", *flags, "--many-tokens", "--for", "1h")
    answers = [ask(world, agent, "alice", authorization_details=json.dumps([CALL])) for _ in "ab"]
    [first], [second] = (each.json()["authorization_details"] for each in answers)
    assert first == second
    assert first["jti"].startswith(name)
    assert 3500 < first["exp"] - first["iat"] <= 3600
    own = {**CALL, "jti": "another", "iat": first["iat"], "exp": first["exp"]}
    refused = ask(world, agent, "alice", authorization_details=json.dumps([own]))
    assert error(refused) == (400, "invalid_authorization_details")
    capsys.readouterr()


def test_without_the_store_there_is_no_token(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """While the store is away it is not certain who has consented: ask again later."""
    with RedisServer() as server:
        store = {"url": server.url, "insecure": True, "timeout": "500ms"}
        changes = ASKING.and_(LAB.with_(("store",), store)).and_(
            LAB.with_(("revocations",), {"when_away": "serve"})
        )
        with TokenServiceWorld(tmp_path, changes) as world, world.serving():
            whose = ("--issuer", world.issuer.url, "--subject", "alice", "--agent", ORCHESTRATOR)
            assert run("consent", str(world.config_path), *whose, "--for", "1h") == 0
            with world.client() as agent:
                assert ask(world, agent, "alice").status_code == httpx.codes.OK
                server.pause()
                assert error(ask(world, agent, "alice")) == (503, "temporarily_unavailable")
                server.resume()
                wait_until(lambda: ask(world, agent, "alice").status_code == httpx.codes.OK)
    capsys.readouterr()
