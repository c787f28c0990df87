"""What ``--json`` prints: an object of stable members on standard output, of failures too."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from authz.config import load
from authz.wiring.policy_version import compute_policy_version
from lab.config_builder import AT_ISSUER, LAB
from lab.issuer import Issuer
from lab.mesh import TRAVEL
from support.verbs import URL, edit, run

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "json.md"
PROBLEM = {"file", "line", "place", "message", "severity"}


def printed(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> Any:
    """Run a verb with --json; return the object that it prints, alone, on standard output."""
    assert run(*arguments, "--json") == status
    return json.loads(capsys.readouterr().out)


def test_check(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Check tells of each config whether it is valid, what is in it, and its problems."""
    told = printed(capsys, "check", str(config))

    assert told["valid"] is True
    [of_config] = told["configs"]
    assert {**of_config, "problems": []} == {
        "config": str(config),
        "valid": True,
        "policy_version": compute_policy_version(load(config)),
        "counts": {"issuers": 1, "agents": 3, "principals": 2, "grants": 3, "rules": 3},
        "problems": [],
        "unchecked": of_config["unchecked"],
    }
    assert {problem["severity"] for problem in of_config["problems"]} <= {"warning", "note"}


def test_check_of_an_invalid_config(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Errors have file, line, place, message and severity; all of them, and on standard output."""
    config.write_text(config.read_text().replace("trust_domains", "trust_domians"))
    told = printed(capsys, "check", str(config), status=1)

    [of_config] = told["configs"]
    assert (told["valid"], of_config["valid"]) == (False, False)
    assert of_config["policy_version"] is None
    problem = next(one for one in of_config["problems"] if "trust_domains" in one["message"])
    assert set(problem) == PROBLEM
    assert problem["severity"] == "error"
    assert config.read_text().splitlines()[problem["line"] - 1].startswith("trust_domians")


def test_check_of_warnings(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Warnings are told with the same members; with --strict the status is 1."""
    rule = {"hosts": ["a.example"], "methods": ["GET"], "paths": ["/a"], "scopes": []}
    edit(config, LAB.with_(("grants", "unheld"), [rule]))
    told = printed(capsys, "check", str(config), "--strict", status=1)

    [of_config] = told["configs"]
    assert of_config["valid"]
    problem = next(one for one in of_config["problems"] if one["place"] == "grants.unheld")
    assert set(problem) == PROBLEM
    assert problem["severity"] == "warning"


def test_check_of_several(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each of several configs is checked and told, and the status is 1 if any is invalid."""
    bad = tmp_path / "bad.yaml"
    bad.write_text("server: 1\n")
    told = printed(capsys, "check", str(bad), str(config), status=1)
    assert [(one["config"], one["valid"]) for one in told["configs"]] == [
        (str(bad), False),
        (str(config), True),
    ]

    assert run("check", str(bad), str(config), str(tmp_path / "absent.yaml")) == 1
    said = capsys.readouterr()
    assert f"{config}: fine: " in said.out
    assert f"{bad}:1: " in said.err
    assert "absent.yaml:1: can't be read: No such file" in said.err
    assert run("check", str(config), str(config)) == 0


def test_keys(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Keys tells each issuer's keys, those not used, and why there are none."""
    issuer = Issuer("https://as.corp.example", "a")
    weak = {**issuer.current.jwk(), "kid": "enc", "use": "enc"}
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [issuer.current.jwk(), weak]}))
    edit(config, LAB.with_((*AT_ISSUER, "keys"), {"file": str(path)}))

    assert printed(capsys, "keys", str(config)) == {
        "issuers": [
            {
                "issuer": "https://as.corp.example",
                "source": str(path),
                "keys": [{"kid": issuer.current.key_id, "algorithms": ["ES256"]}],
                "refused": [{"kid": "enc", "why": "not for sig (use)"}],
                "error": None,
            }
        ]
    }
    path.write_text("{}")
    [told] = printed(capsys, "keys", str(config), status=1)["issuers"]
    assert told["keys"] == []
    assert told["error"]


def test_who_can(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Who-can tells both sides, with the rules of each and what they ask."""
    told = printed(capsys, "who-can", str(config), "GET", URL)

    assert told["allowed"] is True
    by_name = {holder["name"]: holder["rules"] for holder in told["agents"]}
    assert by_name[TRAVEL] == [
        {"rule": "finance-read/0", "scopes": ["balance:read"], "conditions": {}}
    ]
    assert told["principals"]
    assert told["alone"] == []
    assert any("suspended" in text for text in told["except"])
    nobody = printed(capsys, "who-can", str(config), "PUT", "https://mcp.corp.example/x", status=1)
    assert nobody["allowed"] is False
    refused = printed(capsys, "who-can", str(config), "GET", f"{URL}/..%2fx", status=1)
    assert "path_ambiguous" in refused["problems"][0]["message"]


def test_what_can(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What-can tells the operations in common, or which side no entry matches."""
    told = printed(capsys, "what-can", str(config), TRAVEL, "--for", "alice")

    assert told["allowed"] is True
    assert told["unknown"] is None
    first = told["may"][0]
    assert (first["methods"], first["paths"]) == (["GET"], ["/finance/**"])
    assert first["rules"][0]["rule"] == "finance-read/0"
    unknown = printed(capsys, "what-can", str(config), f"{TRAVEL}-x", status=1)
    assert "no entry of agents" in unknown["unknown"]
    wrong = printed(capsys, "what-can", str(config), "travel", status=1)
    assert set(wrong["problems"][0]) == PROBLEM


@pytest.mark.parametrize(
    "words",
    [
        ["explain", "GET", URL, "--agent", TRAVEL],
        ["who-can", "GET", URL],
        ["what-can", TRAVEL],
        ["test", "cases.yaml"],
        ["replay", "--audit", "audit.jsonl"],
        ["suggest", "--audit", "audit.jsonl"],
        ["keys"],
        ["token check", "token.jwt"],
    ],
    ids=lambda words: words[0],
)
def test_an_invalid_config_is_an_object_of_problems(
    config: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Where a verb can't answer, its object has the problems, and standard error the lines."""
    config.write_text("server: 1\n")
    verb, *rest = words
    status = 2 if verb == "token check" else 1
    assert run(*verb.split(), str(config), *rest, "--json") == status
    said = capsys.readouterr()

    problems = json.loads(said.out)["problems"]
    assert all(set(problem) == PROBLEM for problem in problems)
    assert {problem["file"] for problem in problems} == {str(config)}
    assert f"{config}:1: " in said.err


def asked(*arguments: str, stdin: bytes, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, in a folder, with bytes on standard input."""
    done = subprocess.run(
        [sys.executable, "-m", "authz", *arguments],
        input=stdin,
        capture_output=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


def test_check_of_standard_input(config: Path, tmp_path: Path) -> None:
    """A config on standard input is checked; its includes start at the working directory."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "more.yaml").write_text("grants: {more: [{hosts: [a.example], methods: [GET], "
                                      "paths: [/a], scopes: []}]}\n")  # fmt: skip
    text = "include: [more.yaml]\n" + config.read_text()

    good = asked("check", "-", "--json", stdin=text.encode(), folder=folder)
    assert good.returncode == 0, good.stderr
    told = json.loads(good.stdout)["configs"][0]
    assert (told["config"], told["counts"]["grants"]) == ("-", 4)

    bad = asked("check", "-", stdin=text.encode(), folder=tmp_path)
    assert bad.returncode == 1
    assert "-:1: include[0]: there is no file more.yaml" in bad.stderr
    assert "includes of standard input start at the working directory" in bad.stderr


def test_cases_on_standard_input(config: Path, tmp_path: Path) -> None:
    """The cases of authz test may be on standard input, as a config may."""
    cases = b"cases: [{name: a, agent: 'spiffe://corp.example/x', method: GET, "
    cases += b"url: 'https://a.example/a', expect: deny, mode: bootstrap}]"
    done = asked("test", str(config), "-", "--json", stdin=cases, folder=tmp_path)

    assert done.stderr == ""
    assert json.loads(done.stdout)["cases"] == 1


def _names(value: object) -> set[str]:
    """Return the names of all members, but those within the settings of a rule."""
    if isinstance(value, dict):
        inner = [_names(one) for name, one in value.items() if name != "conditions"]
        return {*value}.union(*inner)
    return set().union(*map(_names, value)) if isinstance(value, list) else set()


def test_the_page_names_every_member(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The reference page has every member that these verbs print."""
    audit = Path(config.parent, "audit.jsonl")
    audit.write_text("")
    page = PAGE.read_text()
    for words, status in (
        (["check"], 0),
        (["keys"], 1),
        (["who-can", "GET", URL], 0),
        (["what-can", TRAVEL], 0),
        (["explain", "GET", URL, "--agent", TRAVEL], 1),
        (["replay", "--audit", str(audit)], 1),
        (["suggest", "--audit", str(audit)], 1),
    ):
        verb, *rest = words
        told = printed(capsys, verb, str(config), *rest, status=status)
        missing = {name for name in _names(told) if f"`{name}`" not in page}
        assert not missing, (verb, missing)
