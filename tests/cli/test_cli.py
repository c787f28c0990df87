"""The command: its verbs, their exit status, and what they say."""

import io
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from authz.config import load
from authz.server.json_log import JsonFormatter
from authz.wiring.policy_version import compute_policy_version
from lab.config_builder import AT_ISSUER, LAB, ConfigBuilder
from lab.issuer import Issuer, JwksServer
from lab.mesh import AUDIENCE, CONFIG, TRAVEL, Mesh
from support.jwks_server import ScriptedServer, answer
from support.opaque_issuer import opaque_config
from support.verbs import URL, edit, run
from support.world import READ, World

KEYS = (*AT_ISSUER, "keys")
LISTEN = ("server", "listen")


def test_check(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A good config is fine; a bad one is 1, with file and line on standard error."""
    assert run("check", str(config)) == 0
    version = compute_policy_version(load(config))
    counted = "1 issuer, 3 agents, 2 principals, 3 grants of 3 rules"
    assert f"fine: {counted}; policy version {version}\n" in capsys.readouterr().out
    config.write_text(config.read_text().replace("trust_domains", "trust_domians"))
    assert run("check", str(config)) == 1
    assert f"{config}:" in capsys.readouterr().err


def test_keys(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every key that would be trusted is listed, and why others would not; 1 without keys."""
    issuer = Issuer("https://as.corp.example", "a")
    weak = {**issuer.current.jwk(), "kid": "enc", "use": "enc"}
    documents = {
        "good.json": issuer.jwks(),
        "mixed.json": json.dumps({"keys": [issuer.current.jwk(), weak]}).encode(),
        "none.json": b"{}",
    }
    text = config.read_text()
    for name, document in documents.items():
        path = tmp_path / name
        path.write_bytes(document)
        config.write_text(LAB.with_(KEYS, {"file": str(path)}).edit(text))
        status = run("keys", str(config))
        said = capsys.readouterr().out

        assert said.startswith(f"https://as.corp.example  ({path})\n")
        assert status == (1 if name == "none.json" else 0)
        assert (f"{issuer.current.key_id}  ES256\n" in said) == (name != "none.json")
        assert ("not used: not for sig (use)" in said) == (name == "mixed.json")
        assert ("no keys:" in said) == (name == "none.json")
    config.write_text(text)
    assert run("keys", str(config)) == 1
    assert "Connection refused" in capsys.readouterr().out


def test_all_keys_revoked(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A SPIFFE bundle without keys is an answer, and not a failure."""
    path = tmp_path / "bundle.json"
    path.write_text('{"keys": []}')
    bundle = {"trust_domain": "corp.example", "file": str(path)}
    edit(config, LAB.with_(KEYS, {"spiffe_bundle": bundle}))

    assert run("keys", str(config)) == 0
    assert "all are revoked" in capsys.readouterr().out


def test_config_from_the_environment(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """AUTHZ_CONFIG names the config when no argument does."""
    monkeypatch.setenv("AUTHZ_CONFIG", str(config))

    assert run("check") == 0


def test_usage() -> None:
    """A wrong call is 2."""
    for arguments in (["check"], ["nonsense"], [], ["explain", "c", "GET", "/a", "--agent", "x"]):
        with pytest.raises(SystemExit) as caught:
            run(*arguments)
        assert caught.value.code == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "name a verb: authz --help lists them"),
        (
            ["chek", "c"],
            "there is no verb 'chek'; did you mean check? authz --help lists the verbs",
        ),
        (["frobnicate"], "there is no verb 'frobnicate'; authz --help lists the verbs"),
    ],
)
def test_an_unknown_verb(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong or missing verb is told with what would be right."""
    with pytest.raises(SystemExit) as caught:
        run(*words)

    assert caught.value.code == 2
    assert capsys.readouterr().err.endswith(f"authz: error: {told}\n")


def test_an_unknown_flag(capsys: pytest.CaptureFixture[str]) -> None:
    """The verb tells of a flag that it does not know, with its own usage."""
    for words, verb in (
        ("revoke c --principal bob", "revoke"),
        ("token make --agent a --principal b --principal-typo", "token make"),
    ):
        with pytest.raises(SystemExit) as caught:
            run(*words.split())
        assert caught.value.code == 2
        err = capsys.readouterr().err
        assert err.startswith(f"usage: authz {verb} ")
        assert f"authz {verb}: error: unrecognized arguments: --principal" in err


def test_schema(capsys: pytest.CaptureFixture[str]) -> None:
    """The schema is JSON."""
    assert run("schema") == 0
    assert json.loads(capsys.readouterr().out)["title"] == "agent-authz config"


@pytest.mark.parametrize(
    ("extra", "status", "words"),
    [
        (["--principal", "alice", "--scope", READ], 0, ["ALLOW", "finance-read/0", "assumed"]),
        (["--principal", "alice"], 1, ["scope", "scope needed: balance:read", "403"]),
        (["--principal", "bob", "--scope", READ], 1, ["in none of its groups"]),
        (["--principal", "bob", "--group", "readers", "--scope", READ], 0, ["ALLOW"]),
    ],
)
def test_explain(
    config: Path,
    capsys: pytest.CaptureFixture[str],
    extra: list[str],
    status: int,
    words: list[str],
) -> None:
    """Explain decides as the server would, and says why."""
    assert run("explain", str(config), "GET", URL, "--agent", TRAVEL, *extra) == status
    out = capsys.readouterr().out
    for word in words:
        assert word in out


def test_explain_refusals_before_policy(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Explain tells of an ambiguous path and of a caller that is no agent."""
    assert run("explain", str(config), "GET", URL + "/..%2fx", "--agent", TRAVEL) == 1
    assert "path_ambiguous" in capsys.readouterr().out
    assert run("explain", str(config), "GET", URL, "--agent", "travel") == 1
    out, err = capsys.readouterr()
    assert "agent_invalid" in out
    assert err == f"authz: --agent: 'travel' is not a SPIFFE ID; did you mean {TRAVEL}?\n"


def test_explain_a_mistyped_agent(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The entry that is most like the agent's ID is told first."""
    retired = TRAVEL.replace("travel", "retird")
    assert run("explain", str(config), "GET", URL, "--agent", retired, "--principal", "alice") == 1
    out = capsys.readouterr().out
    assert re.search(r"the nearest are\n *agent +spiffe://\S+/retired\n", out)


def test_explain_a_token(
    world: World,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Explain verifies a given token against the issuer's keys; it never prints it."""
    path = tmp_path / "explain.yaml"
    text = CONFIG.format(
        socket="/s", admin_port=0, drain="1s", jwks_uri=f"{world.jwks.url}/jwks", audit="-"
    )
    path.write_text(LAB.with_(("profiles", "default", "certificate"), "optional").edit(text))
    token = world.token()
    file = tmp_path / "token"
    file.write_text(token + "\n")
    arguments = ["explain", str(path), "GET", URL, "--agent", TRAVEL, "--token-file"]

    assert run(*arguments, str(file)) == 0
    out = capsys.readouterr().out
    assert "by the token" in out
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO((token[:-4] + "AAAA").encode())))
    assert run(*arguments, "-") == 1
    out += capsys.readouterr().out
    assert "token_signature" in out
    assert token.split(".")[1] not in out


def test_explain_an_opaque_token(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Explain asks the issuer about an opaque token, and tells what it said; it prints no token."""
    said = {
        "active": True,
        "sub": "alice",
        "aud": AUDIENCE,
        "scope": READ,
        "act": {"sub": TRAVEL},
    }
    endpoint = ScriptedServer(answer(json.dumps(said).encode(), content_type="application/json"))
    asked = {"url": endpoint.url, "insecure": True, "timeout": "10s"}
    changes = opaque_config("https://as.corp.example/opaque", asked)
    config.write_text(changes.edit(config.read_text()))
    file = tmp_path / "token"
    file.write_text("opaque-to-explain")
    arguments = ["explain", str(config), "GET", URL, "--agent", TRAVEL, "--token-file", str(file)]
    try:
        assert run(*arguments) == 0
        assert endpoint.fetches == 1
        endpoint.serve(answer(b"", 500))
        assert run(*arguments) == 1
    finally:
        endpoint.close()
    out = capsys.readouterr().out
    assert "status 500" in out
    assert "opaque-to-explain" not in out


def test_health(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    """Health is 0 for a ready server and 1 for none."""
    assert run("health", mesh.servers[0].admin.removeprefix("http://")) == 0
    assert '"ready":true' in capsys.readouterr().out
    assert run("health", "127.0.0.1:1") == 1


def test_health_of_another_program(capsys: pytest.CaptureFixture[str]) -> None:
    """What another program answers does nothing to the terminal."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer_once() -> None:
            with server.accept()[0] as connection:
                connection.recv(1024)
                connection.sendall("HTTP/1.0 503 x\r\n\r\n\x1b]0;t\x07\x9b2J\u202e".encode())

        thread = threading.Thread(target=answer_once)
        thread.start()
        assert run("health", f"127.0.0.1:{server.getsockname()[1]}") == 1
        thread.join()
    assert capsys.readouterr().out == "?]0;t??2J?\n"


def printed_by(script: str) -> list[str]:
    """Run a script in a process of its own; return the words that it prints."""
    command = [sys.executable, "-c", script]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


def test_a_server_loads_no_other_verbs() -> None:
    """What reads the verb serve loads none of the modules that review a policy."""
    script = (
        "import sys, authz.cli.verbs.serve; from authz.cli.parser import command_parser;"
        "command_parser();"
        "print(*[name for name in sys.modules if name.startswith('authz.review')])"
    )
    assert not printed_by(script)


def test_a_server_loads_no_part_that_its_config_does_not_name() -> None:
    """Without workers there is no supervisor in memory, and by default no gRPC library."""
    script = (
        "import sys, authz.cli.verbs.serve, authz.transports.native;"
        "print(*{'authz.server.supervisor', 'subprocess', 'grpc'} & {*sys.modules})"
    )
    assert not printed_by(script)


def start(config: Path) -> subprocess.CompletedProcess[str]:
    """Serve until it fails."""
    return subprocess.run(
        [sys.executable, "-m", "authz", "serve", str(config)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("place", ["the socket", "the admin port", "the port"])
def test_serve_where_another_listens(config: Path, tmp_path: Path, place: str) -> None:
    """An address that is taken keeps the server from starting: one line, and status 3."""
    good = config.read_text()
    with ExitStack() as stack:
        if place == "the socket":
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(str(tmp_path / "authz.sock"))
            listener.listen()
            expected = "another server answers on it"
        else:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            address = f"127.0.0.1:{listener.getsockname()[1]}"
            key = LISTEN if place == "the port" else ("admin", "listen")
            config.write_text(LAB.with_(key, address).edit(good))
            expected = "can't listen on" if place == "the port" else "for admin"

        assert expected in _failure(config)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (LAB.with_(LISTEN, "unix:/no/such/folder/s"), "there is no folder"),
        (LAB.with_(("audit", "path"), "/no/such/folder/audit"), "can't write the audit log"),
        (None, "a mapping"),
    ],
    ids=["a socket's folder", "an audit log's folder", "no config"],
)
def test_serve_cannot_start(config: Path, change: ConfigBuilder | None, expected: str) -> None:
    """What keeps the server from starting is said in one line, with status 3."""
    config.write_text(change.edit(config.read_text()) if change else "nonsense")

    assert expected in _failure(config)


def test_serve_takes_over_a_stale_socket(config: Path, tmp_path: Path) -> None:
    """A socket file that a killed server left behind does not keep the next one from starting."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "authz.sock"))
    jwks = JwksServer(Issuer("https://as.corp.example", "a"))  # it listens once it has keys
    edit(config, LAB.with_((*KEYS, "jwks_uri"), f"{jwks.url}/jwks"))
    process = subprocess.Popen(
        [sys.executable, "-m", "authz", "serve", str(config)], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr
    try:
        assert any("serving" in line for line in process.stderr)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "authz.sock"))
    finally:
        process.terminate()
        process.wait(60)
        process.stderr.close()
        jwks.close()


def _failure(config: Path) -> str:
    result = start(config)
    assert result.returncode == 3, result
    assert "Traceback" not in result.stderr
    return result.stderr


def test_serve_without_keys_is_not_ready_and_stops(config: Path) -> None:
    """Without keys the server runs, is not ready, and stops cleanly on SIGINT."""
    process = subprocess.Popen(
        [sys.executable, "-m", "authz", "serve", str(config)], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr
    admin = ""
    while not admin:
        line = json.loads(process.stderr.readline())
        admin = line.get("admin", "")
    assert run("health", admin) == 1
    os.kill(process.pid, signal.SIGINT)

    assert process.wait(60) == 0
    process.stderr.close()


def test_log_lines_are_json() -> None:
    """A log line is JSON, with extras, without the text of an exception."""
    try:
        json.loads("the secret")
    except ValueError:
        record = logging.getLogger("x").makeRecord(
            "x", logging.ERROR, "f", 1, "a\n%s", ("b",), sys.exc_info(), extra={"k": 1}
        )
    line = json.loads(JsonFormatter().format(record))

    assert (line["message"], line["k"], line["error"]) == ("a\nb", "1", "JSONDecodeError")
    assert "secret" not in str(line)
