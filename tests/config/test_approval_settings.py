"""Approvals in the config: what is refused, what is doubtful, and what commands tell of them."""

import json
from pathlib import Path

import pytest

from authz.config import ConfigError, load_text
from lab.config_builder import AT_ALICE, AT_ISSUER, LAB, ConfigBuilder
from lab.mesh import CONFIG, TRAVEL
from support.verbs import run

TYPE = "https://corp.example/authz/call"
AT_RULE = ("grants", "trips", 0)
RULE = f"""\
- name: large
  hosts: [mcp.corp.example]
  methods: [POST]
  paths: [/trips/mcp]
  scopes: ["trips:book"]
  mcp: {{tools: [book]}}
  approval: {{type: "{TYPE}"}}
"""
GOOD: ConfigBuilder = (
    LAB.with_yaml(("grants", "trips"), RULE)
    .with_routes("- {name: trips, paths: [/trips/mcp], protocol: mcp}\n")
    .with_((*AT_ISSUER, "approval_types"), [TYPE])
    .with_(("agents", TRAVEL, "grants"), ["trips", "finance-read", "public"])
    .with_((*AT_ALICE, "grants"), ["trips", "finance-read", "finance-pay", "public"])
)
TEXT = CONFIG.format(
    socket="/run/a.sock",
    admin_port=9192,
    drain="1s",
    jwks_uri="https://as.corp.example/jwks",
    audit="/tmp/a",
)
APPROVED = {
    "type": TYPE,
    "actions": ["tools/call"],
    "identifier": "book",
    "arguments": {"amount": 620},
}


def other_calls(key: str) -> ConfigBuilder:
    """The config with a rule for other calls."""
    rule = RULE.replace("mcp: {tools: [book]}", key or "description: plain")
    return GOOD.with_yaml(("grants", "trips"), rule)


def written(folder: Path, changes: ConfigBuilder = GOOD) -> Path:
    """Write the lab's config with these changes."""
    path = folder / "authz.yaml"
    path.write_text(changes.edit(TEXT))
    return path


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (GOOD.with_((*AT_RULE, "effect"), "deny"), "approval limits an allow"),
        (other_calls(""), "the query and the body of plain requests are not read"),
        (other_calls("a2a: {methods: [GetTask], tasks: ['*']}"), "only calls of MCP's tools"),
        (other_calls("models: {names: [m]}"), "only calls of MCP's tools"),
        (other_calls("mcp: {tools: [book], methods: [acme/pay]}"), "only calls of MCP's tools"),
        (other_calls("mcp: {tasks: ['*']}"), "only calls of MCP's tools"),
        (GOOD.with_((*AT_RULE, "approval", "type"), "two words"), "approval.type"),
        (GOOD.with_((*AT_RULE, "approval", "type"), f"{TYPE}s"), f"did you mean {TYPE}?"),
        (GOOD.with_((*AT_RULE, "approval", "url"), "http://a.example"), "must be an https:// URL"),
        (GOOD.with_((*AT_RULE, "approval", "url"), "javascript:x"), "must be an https:// URL"),
        (
            GOOD.with_((*AT_RULE, "approval", "url"), "https://a.example/?{ID}&x={id}"),
            "{ID} is nothing that is replaced: {id} and {authorization_details} are",
        ),
        (GOOD.with_((*AT_RULE, "approval", "url"), "https://a.example/?{id"), "{id is nothing"),
        (GOOD.with_((*AT_RULE, "approval"), {}), "approval.type"),
        (GOOD.with_((*AT_ISSUER, "approval_types"), []), "no issuer has it in approval_types"),
        (
            GOOD.with_((*AT_ISSUER, "accept_unchecked"), ["authorization_details"]),
            "unchecked could approve calls",
        ),
    ],
)
def test_what_is_refused(changes: ConfigBuilder, told: str) -> None:
    """A rule that could not mean what it says is told when the config is loaded."""
    with pytest.raises(ConfigError) as caught:
        load_text(changes.edit(TEXT).encode(), "authz.yaml")
    assert told in str(caught.value)


def test_workers_without_a_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each worker remembers for itself, which is worth a warning; not with once: false."""
    several = GOOD.with_(("server", "workers"), 3).with_(
        ("server", "listen"), "unix:/run/{worker}.sock"
    )
    run("check", str(written(tmp_path, several)))
    assert "each of the 3 workers lets an approval pass once" in capsys.readouterr().err
    run("check", str(written(tmp_path, several.with_((*AT_RULE, "approval", "once"), False))))
    assert "approval pass once" not in capsys.readouterr().err


def test_explain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It prints the element to ask for; and of an allow, that it uses one up."""
    path = written(tmp_path)
    asked = [
        *("explain", str(path), "POST", "https://mcp.corp.example/trips/mcp"),
        *("--agent", TRAVEL, "--principal", "alice"),
        *("--scope", "trips:book", "--tool", "book", "--arguments", '{"amount": 620}'),
    ]
    assert run(*asked) == 1
    told = capsys.readouterr().out
    assert "DENY        approval_required" in told
    line = next(line for line in told.splitlines() if "approval needed: " in line)
    assert json.loads(line.partition(": ")[2]) == APPROVED
    assert run(*asked, "--json") == 1
    assert json.loads(capsys.readouterr().out)["approvals"] == [APPROVED]

    assert run(*asked, "--claim", f"authorization_details={json.dumps([APPROVED])}") == 0
    told = capsys.readouterr().out
    assert "by an approval, which it uses up" in told
    assert "whether the approval was used before" in told


def test_what_can_and_test(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The rule is shown with its approval, and cases can hold it."""
    path = written(tmp_path)
    assert run("what-can", str(path), TRAVEL, "--for", "alice") == 0
    assert f'approval {{"type": "{TYPE}"}}' in capsys.readouterr().out
    case = {
        "agent": TRAVEL,
        "principal": "alice",
        "scopes": ["trips:book"],
        "method": "POST",
        "url": "https://mcp.corp.example/trips/mcp",
        "mcp": {"tool": "book", "arguments": {"amount": 620}},
    }
    approved = {"claims": {"authorization_details": [APPROVED]}}
    cases = [
        {"name": "asked", "expect": "approval_required", **case},
        {"name": "approved", "expect": "allow", "rule": "trips/large", **case, **approved},
    ]
    (tmp_path / "cases.yaml").write_text(json.dumps({"cases": cases}))
    assert run("test", str(path), str(tmp_path / "cases.yaml")) == 0, capsys.readouterr()
