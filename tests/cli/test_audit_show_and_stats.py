"""``authz audit show`` and ``authz audit stats``: a record in full, and the counts of many."""

import json
from pathlib import Path

import pytest

from support.audit_lines import audit_line, write_log
from support.verbs import run
from support.world import World


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of 100 records, each tenth a refusal of bob."""
    lines = [
        audit_line(at, principal="alice", tool="book")
        if at % 10
        else audit_line(at, principal="bob", reason="policy_denied", detail="no rule")
        for at in range(100)
    ]
    return write_log(tmp_path / "audit.jsonl", lines)


def test_show_by_id(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A record is shown with its members, the meaning of its reason, and what is empty."""
    assert run("audit", "show", "d-10", str(log)) == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    shown = {name: value for name, value in lines if name != "actors"}
    assert shown["reason"] == "policy_denied (not allowed)"
    assert shown["detail"] == "no rule"
    assert shown["path"] == "/finance/balance"
    assert "request_id" in shown["empty:"]


def test_show_as_json(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json all members are printed."""
    assert run("audit", "show", "--principal", "bob", str(log), "--json") == 0
    members = json.loads(capsys.readouterr().out)
    assert members == json.loads(log.read_bytes().splitlines()[90])


def test_show_what_a_server_wrote(shared_world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """The record of a decision is found by the ID that the answer had."""
    shared_world.ask(shared_world.token())
    record = shared_world.audit_records()[-1]
    assert run("audit", "show", record["decision_id"], str(shared_world.audit_path)) == 0
    assert f"agent           {record['agent']}\n" in capsys.readouterr().out


def test_show_finds_nothing(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A decision that the logs do not have is told; an ID alone is a usage error."""
    assert run("audit", "show", "d-1", str(log)) == 0
    assert run("audit", "show", "d-1000", str(log)) == 1
    assert run("audit", "show", "--tool", "pay", str(log)) == 1
    assert capsys.readouterr().err == (
        "authz: no record fits: the logs have no decision d-1000\nauthz: no record fits\n"
    )
    with pytest.raises(SystemExit, match="2"):
        run("audit", "show", str(log))


def test_stats(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Records are counted by reason, agent, principal, rule and tool, with cache and latencies."""
    assert run("audit", "stats", str(log)) == 0
    assert capsys.readouterr().out.splitlines() == [
        "records: 100 (allow 90, deny 10)",
        "period: 2025-11-29 07:06:40.000 to 2025-11-29 07:08:19.000 UTC",
        "remembered: 50.0 %",
        "latency, cache hit (us): 50 % 49, 90 % 89, 99 % 99, 99.9 % 99, most 99",
        "latency, cache miss (us): 50 % 48, 90 % 88, 99 % 98, 99.9 % 98, most 98",
        "reasons: 1",
        "         10  policy_denied",
        "agents: 1",
        "        100  spiffe://corp.example/ns/agents/sa/travel",
        "principals: 2",
        "         90  alice",
        "         10  bob",
        "rules: 1",
        "         90  finance-read/0",
        "tools: 1",
        "         90  book",
    ]


def test_stats_as_json(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json the counts are members, of as many names as --top says."""
    assert run("audit", "stats", str(log), "--json", "--top", "1", "--since", "1000d") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["records"], told["deny"], told["cache_hits"]) == (100, 10, 50)
    assert told["principals"] == {
        "top": [{"name": "alice", "count": 90}],
        "names": 2,
        "is_complete": True,
        "counts_may_lack": 0,
    }
    assert told["latency_us"]["hit"]["max"] == 99


def test_stats_of_hostile_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A flood of long principals takes bounded memory, and does not hide the frequent one."""
    flood = (
        audit_line(at, principal="alice" if at % 4 == 0 else f"{at}" * 100) for at in range(14_000)
    )
    log = write_log(tmp_path / "audit.jsonl", flood)
    assert run("audit", "stats", str(log), "--top", "1") == 0
    out = capsys.readouterr().out
    assert "principals: more than " in out
    assert "3500  alice" in out
    assert "too many to count each exactly" in out


def test_stats_of_nothing(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a record that fits, the counts are 0 and the status is 1."""
    assert run("audit", "stats", str(log), "--tool", "pay") == 1
    told = capsys.readouterr()
    assert told.out.startswith("records: 0 (allow 0, deny 0)\n")
    assert told.err == "authz: no record fits\n"
