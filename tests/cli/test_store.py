"""``authz store`` and ``authz check``: what they say of the store that replicas share."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.config_builder import LAB
from support.redis_server import RedisServer
from support.verbs import edit, run


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """Run a server for all tests of the module."""
    with RedisServer() as running:
        yield running


def test_a_store_that_works(
    config: Path, server: RedisServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """It tells what the server is, and leaves nothing behind but since when it remembers."""
    edit(config, LAB.with_section("store", f"{{url: '{server.url}', insecure: true}}"))
    assert run("store", str(config)) == 0
    told = capsys.readouterr().out
    assert "redis 7." in told or "valkey " in told
    assert f"at localhost:{server.port}" in told
    assert "noeviction" in told
    assert "round trip" in told

    assert run("store", str(config), "--json") == 0
    members = json.loads(capsys.readouterr().out)
    assert members["problem"] is None
    assert members["namespace"] == "corp.example"
    assert members["revocations"] == members["replicas"] == 0
    assert 0 < members["round_trip_seconds"] < 60


def test_a_user_who_may_only_read(
    config: Path, server: RedisServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it could not do at a revocation is told now, with what to add."""
    with server.admin() as client:
        narrowed = ("-xadd", "-publish", "-hincrby")
        client.execute_command(
            "ACL", "SETUSER", "reader", "on", ">pass", "~*", "&*", "+@all", *narrowed
        )
    (config.parent / "password").write_text("pass")
    asked = f"user: reader, password_file: {config.parent / 'password'}"
    edit(config, LAB.with_section("store", f"{{url: '{server.url}', insecure: true, {asked}}}"))
    assert run("store", str(config)) == 1
    assert "too narrow: add +hincrby +xadd +publish" in capsys.readouterr().out


def test_a_database_that_it_has_not(
    config: Path, server: RedisServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """The problem names what is wrong in the URL."""
    edit(config, LAB.with_section("store", f"{{url: '{server.url}/9999', insecure: true}}"))
    assert run("store", str(config)) == 1
    assert "no database of the number at the end of url" in capsys.readouterr().out


def test_a_store_that_would_evict(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The problem names the setting, and the status is 1."""
    with RedisServer("maxmemory-policy allkeys-lru") as server:
        edit(config, LAB.with_section("store", f"{{url: '{server.url}', insecure: true}}"))
        assert run("store", str(config)) == 1
        assert "maxmemory-policy is not noeviction" in capsys.readouterr().out
        assert run("store", str(config), "--json") == 1
        assert "noeviction" in json.loads(capsys.readouterr().out)["problem"]


def test_a_store_that_is_away(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The problem is the system's."""
    edit(config, LAB.with_section("store", "{url: 'redis://127.0.0.1:1', insecure: true}"))
    assert run("store", str(config)) == 1
    told = capsys.readouterr().out
    assert "Connection refused" in told
    assert "redis://127.0.0.1:1\n" in told


def test_without_the_extra(config: Path) -> None:
    """``authz check`` says how to install it, and so does the server before it begins."""
    edit(config, LAB.with_section("store", "{url: 'rediss://valkey.corp.example'}"))
    for verb in ("check", "store"):
        code = (
            "import sys; sys.modules['redis'] = None\n"
            "from importlib import util; find = util.find_spec\n"
            "util.find_spec = lambda name, *a: None if name == 'redis' else find(name, *a)\n"
            f"from authz import cli; sys.argv = ['authz', '{verb}', {str(config)!r}]\n"
            "sys.exit(cli.main())"
        )
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "store needs the extra store, which is not installed: in a checkout" in done.stderr


def test_no_store(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A config without one is told so."""
    assert run("store", str(config)) == 1
    assert "the config has no store" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("section", "place", "words"),
    [
        (
            (
                "{sentinel: {addresses: ['sentinel.corp.example:26379'], service: authz},"
                " user: authz, password_file: HERE/password}"
            ),
            "store.acknowledged_by",
            "a failover can lose the newest marks and revocations",
        ),
        (
            "{cluster: ['valkey.corp.example:6379'], user: authz, password_file: HERE/password}",
            "store.acknowledged_by",
            "a failover can lose",
        ),
        (
            (
                "{url: 'redis://valkey.corp.example:6379', insecure: true, user: authz,"
                " password_file: HERE/password}"
            ),
            "store.insecure",
            "anyone on the network path can take revocations back",
        ),
        (
            "{url: 'rediss://valkey.corp.example:6379'}",
            "store",
            "the store lets in whoever reaches it",
        ),
    ],
)
def test_doubtful_settings(
    config: Path, capsys: pytest.CaptureFixture[str], section: str, place: str, words: str
) -> None:
    """Each is a warning, and the config is valid."""
    (config.parent / "password").write_text("secret")
    edit(config, LAB.with_section("store", section.replace("HERE", str(config.parent))))
    assert run("check", str(config), "--json") == 0
    [of_config] = json.loads(capsys.readouterr().out)["configs"]
    found = {problem["place"]: problem["message"] for problem in of_config["problems"]}
    assert words in found[place]
    assert "the store (authz store asks it)" in of_config["unchecked"]


@pytest.mark.parametrize(
    "section",
    [
        "{url: 'redis://localhost:6379', insecure: true}",
        "{url: 'unix:///run/valkey/valkey.sock'}",
        (
            "{cluster: ['valkey.corp.example:6379'], user: authz, password_file: HERE/password,"
            " acknowledged_by: 1}"
        ),
    ],
)
def test_settings_without_doubt(
    config: Path, capsys: pytest.CaptureFixture[str], section: str
) -> None:
    """The nearest settings that are meant have no warning."""
    (config.parent / "password").write_text("secret")
    edit(config, LAB.with_section("store", section.replace("HERE", str(config.parent))))
    assert run("check", str(config), "--json") == 0
    [of_config] = json.loads(capsys.readouterr().out)["configs"]
    assert not [problem for problem in of_config["problems"] if "store" in problem["place"]]


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("{url: 'rediss://s.corp.example', tls: {ca_file: HERE/text}}", "no PEM certificates"),
        (
            (
                "{url: 'rediss://s.corp.example', tls: {client: {certificate: HERE/text,"
                " private_key: HERE/text}}}"
            ),
            "store.tls.client",
        ),
        ("{url: 'redis://169.254.169.254', insecure: true}", "is never asked"),
        ("{cluster: ['127.0.0.1:7000', '[fe80::1]:7000'], insecure: true}", "store.cluster[1]"),
        ("{url: 'redis://s.corp.example'}", "over plain TCP anyone"),
        ("{url: 'redis://a:b@s.corp.example', insecure: true}", "must not hold a user or password"),
        ("{}", "exactly one of url, sentinel and cluster is required"),
    ],
)
def test_wrong_settings(
    config: Path, capsys: pytest.CaptureFixture[str], section: str, words: str
) -> None:
    """Each is an error that names the setting, and no file's content."""
    (config.parent / "text").write_text("SECRET")
    edit(config, LAB.with_section("store", section.replace("HERE", str(config.parent))))
    assert run("check", str(config)) == 1
    told = "".join(capsys.readouterr())
    assert words in told
    assert "SECRET" not in told
