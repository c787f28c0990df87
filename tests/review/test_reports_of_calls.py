"""The verbs on policy, of messages: explain, who-can, what-can, test, replay and suggest."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from authz.config import load
from authz.wiring.policy_version import compute_policy_version
from lab.config_builder import AT_ALICE, AT_PUBLIC_RULE, LAB, ConfigBuilder
from lab.mesh import TRAVEL
from support.verbs import edit, run

TRIPS = "https://mcp.corp.example/trips/mcp"
GRANTS = """\
trips:
  - name: search
    hosts: [mcp.corp.example]
    methods: ["*"]
    paths: [/trips/mcp]
    scopes: []
    mcp: {tools: [search, get_price, "find_*"], resources: ["trips://policy/**"]}
  - name: book
    hosts: [mcp.corp.example]
    methods: [POST]
    paths: [/trips/mcp]
    scopes: ["trips:write"]
    mcp: {tools: [book]}
    when: operation.arguments.price <= 500
  - name: llm
    hosts: [mcp.corp.example]
    methods: [POST]
    paths: [/v1/**]
    scopes: []
    models: {names: ["small-*"], tools: [search]}
narrow:
  - name: some
    hosts: ["*"]
    methods: ["*"]
    paths: [/**]
    scopes: []
    mcp: {tools: ["*o*", search], methods: [logging/setLevel]}
  - name: models
    hosts: ["*"]
    methods: [POST]
    paths: [/**]
    scopes: []
    models: {names: ["*"]}
  - name: secret
    effect: deny
    hosts: ["*"]
    methods: ["*"]
    paths: [/**]
    mcp: {tools: ["*_sin"]}
"""
HOLD = (
    LAB.with_routes("[{name: trips, paths: [/trips/**], protocol: mcp}]")
    .with_(("agents", TRAVEL, "grants"), ["finance-read", "public", "trips"])
    .with_((*AT_ALICE, "grants"), ["finance-read", "narrow"])
    .with_keys(("grants",), GRANTS)
)
BOOK = ("grants", "trips", "book")
FOR_ALICE = ("--agent", TRAVEL, "--principal", "alice")


@pytest.fixture
def rules(config: Path) -> Path:
    """A config with rules on messages."""
    edit(config, HOLD)
    return config


@pytest.mark.parametrize(
    ("flags", "status", "words"),
    [
        (["--tool", "search"], 0, "agent by trips/search, principal by narrow/some"),
        (["--mcp", "initialize"], 0, "the method initialize"),
        (["--tool", "get_price"], 1,
         "nearest miss: narrow/some: the tool get_price is not one of *o*, search"),
        (["--tool", "pay"], 1, "DENY        policy_denied: trips/search: the tool pay is not one"),
        (["--tool", "find_sin"], 1, "denied by: narrow/secret"),
        (["--resource", "trips://policy/a"], 1, "the rule lists no resources"),
        (["--tool", "book", "--arguments", '{"price": 500}'], 1, "scope needed: trips:write"),
        (["--tool", "book", "--arguments", '{"price": 500}', "--scope", "trips:write"], 0, "ALLOW"),
        (["--tool", "book", "--arguments", '{"price": 501}', "--scope", "trips:write"], 1,
         "nearest miss: trips/book: the condition does not hold"),
        (["--tool", "book", "--arguments", '{"price": 501}', "--scope", "trips:write"], 1,
         "DENY        policy_denied: trips/book: the condition does not hold"),
        ([], 1, "the route's protocol is mcp"),
    ],
)  # fmt: skip
def test_explain(
    rules: Path, capsys: pytest.CaptureFixture[str], flags: list[str], status: int, words: str
) -> None:
    """Explain takes a call in flags, decides as the server would, and tells the nearest miss."""
    assert run("explain", str(rules), "POST", TRIPS, *FOR_ALICE, *flags) == status
    assert words in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--tool", "a", "--prompt", "b"], "tool and prompt are two targets"),
        (["--tool", "a", "--model", "b"], "mcp, a2a and models are different protocols"),
        (["--arguments", "{}x"], "not a JSON object"),
        (["--arguments", "[]"], "not a JSON object"),
        (["--arguments", '{"a": 1, "a": 2}'], "not a JSON object"),
        (["--arguments", '{"a": 1}'], "name a method, a tool, a resource"),
        (["--skill", "a"], "a2a.method: must not be empty"),
        (["--stream"], "models.name: must not be empty"),
        (["--audit", "f", "--decision-id", "a", "--tool", "a"], "leave them out"),
    ],
)
def test_flags_that_are_no_call(
    rules: Path, capsys: pytest.CaptureFixture[str], flags: list[str], words: str
) -> None:
    """Flags that are not one call are a usage error with a clear text."""
    asked = [] if "--audit" in flags else ["POST", TRIPS, *FOR_ALICE]
    with pytest.raises(SystemExit) as caught:
        run("explain", str(rules), *asked, *flags)

    assert caught.value.code == 2
    assert words in capsys.readouterr().err


def test_who_can_call(rules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Who-can tells the rules about the call, and not those that name other tools."""
    assert run("who-can", str(rules), "POST", TRIPS, "--tool", "find_o_sin") == 0
    said = capsys.readouterr().out
    assert '    trips/search: scopes none, mcp {"tools": ["search", "get_price", ' in said
    assert "    narrow/some" in said
    assert "trips/book" not in said
    assert "narrow/secret denies it" in said
    for tool_name, status in (("search", 0), ("get_price", 1), ("pay", 1)):
        assert run("who-can", str(rules), "POST", TRIPS, "--tool", tool_name) == status
        assert "narrow/secret" not in capsys.readouterr().out
    assert run("who-can", str(rules), "POST", TRIPS) == 1
    url = "https://mcp.corp.example/v1/chat/completions"
    assert run("who-can", str(rules), "POST", url, "--model", "small-1", "--offer", "search") == 0
    assert run("who-can", str(rules), "POST", url, "--model", "small-1", "--offer", "shell") == 1


def test_what_can_be_called(rules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What-can lists the tools that both sides name, of one protocol at a time."""
    assert run("what-can", str(rules), TRAVEL, "--for", "alice") == 0
    said = capsys.readouterr().out
    assert "    mcp: tools search, find_* & *o*\n    scopes none; by trips/search" in said
    assert "    mcp: tools book\n    scopes trips:write; by trips/book (when" in said
    assert "    models: names small-*; tools search\n" in said
    assert "narrow/secret" in said.partition("except")[2]
    assert run("what-can", str(rules), TRAVEL) == 0
    assert "mcp: tools search, get_price, find_*; resources trips://policy/**" in (
        capsys.readouterr().out
    )


def test_what_nobody_can_call(rules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rules of both sides that name no call in common are not told; nor a session without one."""
    narrow = ("grants", "narrow")
    edit(
        rules,
        LAB.with_((*narrow, "some", "mcp", "tools"), ["other"]).with_(
            (*narrow, "models", "models", "names"), ["large-1"]
        ),
    )
    assert run("what-can", str(rules), TRAVEL, "--for", "alice") == 0
    said = capsys.readouterr().out
    assert "mcp: a session\n    scopes none; by trips/search and narrow/some\n" in said
    assert "models" not in said
    assert "trips/book" not in said  # it reads arguments: it brings no session


CASE: dict[str, Any] = {
    "name": "a call",
    "agent": TRAVEL,
    "principal": "alice",
    "method": "POST",
    "url": TRIPS,
    "expect": "allow",
}


def judged(config: Path, **keys: Any) -> int:
    """The exit status of one case."""
    path = config.with_name("cases.yaml")
    path.write_text(yaml.safe_dump({"cases": [{**CASE, **keys}]}))
    return run("test", str(config), str(path))


def test_cases_of_calls(rules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A case may be a call, with its arguments."""
    llm = "https://mcp.corp.example/v1/chat/completions"
    paid = {"scopes": ["trips:write"], "rule": "trips/book"}
    nested = {"price": 5, "legs": [{"to": "HAM"}]}
    assert judged(rules, mcp={"tool": "search"}, rule="trips/search") == 0
    assert judged(rules, mcp={"method": "tools/list"}) == 0
    assert judged(rules, mcp={"tool": "find_sin"}, expect="deny", rule="narrow/secret") == 0
    assert judged(rules, mcp={"tool": "book", "arguments": nested}, **paid) == 0
    assert judged(rules, mcp={"tool": "book", "arguments": {}}, **paid) == 1
    assert judged(rules, mcp={"tool": "book", "arguments": nested}, expect="scope") == 0
    assert judged(rules, a2a={"method": "GetTask", "task": "t"}, expect="policy_denied") == 0
    assert judged(rules, models={"name": "small-1"}, url=llm) == 0
    assert judged(rules, models={"name": "small-1", "tools": ["sh"]}, url=llm) == 1
    assert judged(rules, models={"name": "large"}, url=llm, expect="deny") == 0
    assert judged(rules, expect="deny") == 0
    capsys.readouterr()
    assert judged(rules, mcp={"toool": "x"}) == 1
    assert "cases[0].mcp.toool: unknown key; did you mean tool?" in capsys.readouterr().err


def tool(name: str) -> dict[str, Any]:
    """A tool call as records have it."""
    return {"method": "tools/call", "kind": "tool", "name": name}


def written(config: Path, *calls: list[dict[str, Any]], **members: Any) -> Path:
    """An audit log of messages: allowed by trips/search, unless members say else."""
    record: dict[str, Any] = dict.fromkeys(
        ("reason", "detail", "principal_rule", "token_id", "proxy"), ""
    )
    record |= {"decision": "allow", "agent": TRAVEL, "principal": "alice", "mode": "act",
               "by_policy": True}  # fmt: skip
    record |= {"issuer": "https://as.corp.example", "rule": "trips/search", "flags": [],
               "policy_version": compute_policy_version(load(config)),
               "actors": [], "scopes": ["trips:write"],
               "method": "POST", "host": "mcp.corp.example", "path": "/trips/mcp",
               "time": "2026-11-25T10:00:00Z", "protocol": "mcp", **members}  # fmt: skip
    path = config.with_name("log")
    lines = [{**record, "calls": one, "decision_id": f"d{at}"} for at, one in enumerate(calls)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def replayed(
    config: Path, log: Path, capsys: pytest.CaptureFixture[str], *more: str
) -> tuple[int, Any]:
    """Exit status and report."""
    capsys.readouterr()
    status = run("replay", str(config), "--audit", str(log), "--json", *more)
    return status, json.loads(capsys.readouterr().out)


def test_replay(rules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Recorded calls are decided again; a batch as a whole; foreign records are bad lines."""
    log = written(rules, [tool("search")], [tool("search"), tool("find_one")], [tool("get_price")])
    status, report = replayed(rules, log, capsys)
    assert (status, report["unchanged"], report["newly_denied"]["count"]) == (0, 2, 1)
    log = written(rules, [tool("search")], [], [{"kind": "tool"}], protocol="x")
    assert replayed(rules, log, capsys)[1]["bad_lines"]["count"] == 3
    log = written(rules, [])
    assert replayed(rules, log, capsys)[1]["bad_lines"]["count"] == 1
    log = written(rules, [tool("search")], protocol="")
    assert replayed(rules, log, capsys)[1]["bad_lines"]["count"] == 1
    log = written(rules, [tool("x")], decision="deny", reason="method_unknown")
    assert replayed(rules, log, capsys)[1]["unchanged"] == 1
    log = written(rules, [], decision="deny", reason="body_truncated", by_policy=False)
    assert replayed(rules, log, capsys)[1]["not_by_policy"] == 1


def test_arguments_are_not_recorded(rules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where a rule that matters reads arguments, a record is not judged, and never unchanged."""
    listing = {"method": "tools/list"}
    calls = [[tool("book")], [tool("search"), tool("book")], [tool("search"), listing]]
    log = written(rules, *calls)
    old = rules.with_name("old.yaml")
    old.write_text(rules.read_text())
    edit(rules, LAB.with_((*BOOK, "when"), "operation.arguments.price <= 600"))
    then = ("--old", str(old))
    status, report = replayed(rules, log, capsys, *then)
    assert (status, report["not_judged"]["count"], report["unchanged"]) == (1, 2, 1)
    assert report["not_judged"]["by"][0]["agent"] == TRAVEL
    assert run("replay", str(rules), "--audit", str(log), *then) == 1
    assert "records hold neither the arguments of calls" in capsys.readouterr().out
    assert run("explain", str(rules), "--audit", str(log), "--decision-id", "d1") == 1
    said = capsys.readouterr().out
    assert "records hold no arguments" in said
    assert "3 policy on the tool search" in said
    assert "trips/book: the condition failed" in said
    edit(rules, LAB.without((*BOOK, "when")))
    assert replayed(rules, log, capsys, *then)[1]["not_judged"]["count"] == 0


@pytest.mark.parametrize(
    ("change", "is_same"),
    [
        (LAB.with_((*AT_PUBLIC_RULE, "paths"), ["/elsewhere/**"]), True),
        (LAB.with_((*BOOK, "owner"), "o"), True),
        (LAB.with_((*BOOK, "when"), "operation.arguments.price <= 900"), False),
        (LAB.with_((*BOOK, "mcp", "tools"), ["book", "x"]), False),
        (LAB.without((*AT_ALICE, "grants")).with_((*AT_ALICE, "unrestricted"), value=True), False),
        (LAB.with_(("agents", TRAVEL, "suspended"), value=True), False),
        (LAB.with_section("conditions", "{claims: [sub]}"), False),
        (LAB.with_section("earlier_actors", "{unregistered: deny}"), False),
    ],
)
def test_rules_that_did_not_change(
    rules: Path, capsys: pytest.CaptureFixture[str], change: ConfigBuilder, *, is_same: bool
) -> None:
    """Arguments need not be known where all that could decide by them is as it was then."""
    log = written(rules, [tool("book")], claims={"sub": "alice"})
    text = rules.read_text()
    before = rules.with_name("old.yaml")
    before.write_text(text)
    assert replayed(rules, log, capsys)[0] == 0

    edit(rules, change)
    assert replayed(rules, log, capsys)[1]["unchanged"] == 0
    report = replayed(rules, log, capsys, "--old", str(before))[1]
    assert (report["unchanged"] == 1) == is_same


def test_a_name_that_was_cut_is_not_judged(rules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without all of a resource's URI a record is unchanged by the same rules only, and is used."""
    cut = {"method": "resources/read", "kind": "resource", "name": "a://b", "is_cut": True}
    log = written(rules, [cut])
    status, report = replayed(rules, log, capsys)
    assert (status, report["unchanged"]) == (0, 1)
    assert "trips/search: never used" not in suggested(rules, log, capsys)

    status, report = replayed(rules, written(rules, [cut], policy_version="other"), capsys)
    assert (status, report["unchanged"], report["not_judged"]["count"]) == (1, 0, 1)
    refused = written(rules, [cut], decision="deny", reason="policy_denied", rule="")
    assert "a://b" not in suggested(rules, refused, capsys, "--denied")


def suggested(config: Path, log: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    """The output."""
    capsys.readouterr()
    assert run("suggest", str(config), "--audit", str(log), *more) == 0
    return capsys.readouterr().out


def test_tools_that_nobody_called(rules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a rule that was used, suggest tells what it names and nobody called."""
    log = written(rules, [tool("search")], [tool("find_a"), {"method": "ping"}])
    said = suggested(rules, log, capsys)
    assert "# trips/search: mcp.tools: get_price was never called" in said
    assert "# trips/search: mcp.resources: trips://policy/** was never called" in said
    assert "# trips/book: never used" in said
    log = written(rules, [tool("search")], [tool("a*b")])
    assert "never called" not in suggested(rules, log, capsys)
    log = written(rules, [tool("search"), tool("book")], rule="trips/search,trips/book")
    assert "# trips/book: never used" not in suggested(rules, log, capsys)


def test_what_is_missing(rules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For messages that were refused the smallest rules are proposed: included, they allow them."""
    task = {"method": "tasks/get", "kind": "task", "name": "t-1"}
    read = {"method": "resources/read", "kind": "resource", "name": "trips://policy/a"}
    refused: dict[str, Any] = {"decision": "deny", "reason": "policy_denied", "rule": ""}
    first = written(
        rules, [tool("pay"), {"method": "tools/list"}], [task, read, {"method": "x/y"}],
        [tool("a*")], **refused,
    ).rename(rules.with_name("first"))  # fmt: skip
    model = {"method": "embeddings", "kind": "model", "name": "big", "tools": ["b", "a"]}
    second = written(rules, [model], protocol="openai", path="/v2/x", **refused)
    second = second.rename(rules.with_name("second"))
    skill = {"method": "SendMessage", "kind": "skill", "name": "plan"}
    third = written(rules, [skill, {"method": "SendMessage"}], protocol="a2a", path="/h", **refused)
    options = ("--denied", "--audit", str(second), "--audit", str(third))
    said = suggested(rules, first, capsys, *options)

    assert 'mcp: {"methods": ["x/y"], "tools": ["pay"], "tasks": ["*"]}' in said
    assert 'mcp: {"resources": ["trips://policy/a"]}' in said  # only the principal lacks it
    assert 'models: {"names": ["big"], "tools": ["a", "b"], "streaming": false}' in said
    assert 'a2a: {"methods": ["SendMessage"], "skills": ["plan"]}' in said
    assert 'a2a: {"methods": ["SendMessage"]}\n' in said
    assert "a*" not in said
    old = rules.with_name("old.yaml")
    old.write_text(rules.read_text())
    (rules.parent / "more.yaml").write_text(said)
    names = said.partition(f"# Add to the grants of the agent {TRAVEL}: ")[2].partition("\n")[0]
    held = LAB.with_items(("agents", TRAVEL, "grants"), f"[{names}]", before=3)
    edit(rules, held.with_(("include",), ["more.yaml"]))
    for log, allowed in ((first, 2), (second, 1), (third, 1)):
        _, report = replayed(rules, log, capsys, "--old", str(old))
        assert report["newly_allowed"]["count"] == allowed
        assert report["unchanged"] == (1 if log is first else 0)
