"""``authz replay``: the records of a real service, decided again by the same and other policies."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from authz import cli
from lab.config_builder import AT_ALICE, AT_READ_RULE, LAB, ConfigBuilder
from lab.mesh import PAYMENTS, RETIRED, TRAVEL
from support.world import World

NARROW = LAB.with_((*AT_READ_RULE, "paths"), ["/finance/other"])
WIDE = LAB.with_items(("agents", TRAVEL, "grants"), "[finance-pay]", before=1)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A service that has answered: allows, and refusals of policy and of others."""
    with World(tmp_path_factory.mktemp("world")) as world:
        paid = world.token(scope="payments:write")
        for _ in range(3):
            world.ask(world.token())  # allowed
        world.ask(paid, method="POST", path="/finance/payments/7")  # policy_denied
        world.ask(world.token(scope=""))  # scope
        world.ask(world.token(sub="bob", groups=["readers"]))  # allowed by a group
        world.ask(world.token(), path="/finance/..%2f/")  # path_ambiguous
        world.ask("no.to.ken")
        world.ask()
        assert len(world.audit_records()) == 9
        yield world


def written(world: World, tmp_path: Path, changes: ConfigBuilder) -> Path:
    """The world's config with changes, in a file."""
    path = tmp_path / "new.yaml"
    path.write_text(changes.edit(world.config_text))
    return path


def replayed(
    world: World,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: ConfigBuilder,
    *options: str,
) -> tuple[int, dict[str, Any]]:
    """Exit status and report."""
    path = written(world, tmp_path, changes)
    audit = str(world.audit_path)
    status = cli.main(["replay", str(path), "--audit", audit, "--json", *options])
    return status, json.loads(capsys.readouterr().out)


def test_the_same_policy_changes_nothing(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the policy that decided, every decision of policy comes out as it was."""
    status, report = replayed(world, tmp_path, capsys, LAB, "--strict")
    assert status == 0
    assert report["records"] == 9
    assert report["unchanged"] == 6
    assert report["not_by_policy"] == 3
    for title in ("newly_allowed", "newly_denied", "undecidable", "bad_lines"):
        assert report[title]["count"] == 0


def test_a_narrower_policy(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What would be refused is counted by rule and by whom; it fails only when that is asked."""
    status, report = replayed(world, tmp_path, capsys, NARROW)
    assert status == 0
    assert report["newly_denied"]["count"] == 4
    first, second = report["newly_denied"]["by"]
    assert (first["count"], first["principal"]) == (3, "alice")
    assert (second["count"], second["principal"]) == (1, "bob")
    assert (first["rule"], first["then"]) == ("", "finance-read/0")
    recorded = [record["decision_id"] for record in world.audit_records()]
    assert first["decision_id"] == recorded[0]
    assert report["unchanged"] == 2
    assert replayed(world, tmp_path, capsys, NARROW, "--strict")[0] == 1


def test_a_wider_policy(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What would be allowed now needs a look."""
    status, report = replayed(world, tmp_path, capsys, WIDE)
    assert status == 1
    (only,) = report["newly_allowed"]["by"]
    assert (only["rule"], only["principal"], only["count"]) == ("finance-pay/0", "alice", 1)


def test_what_was_not_recorded_is_not_guessed(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the new policy reads what no record holds, its answer is not known: told, and 1."""
    headers = LAB.with_keys(AT_READ_RULE, "headers: {x-env: [prod]}")
    status, report = replayed(world, tmp_path, capsys, headers)
    assert status == 1
    assert report["unknown_headers"] == ["x-env"]
    assert report["undecidable"]["count"] == 5
    assert report["unchanged"] == 1  # the payment: no rule about it reads the header
    listed = LAB.with_section("conditions", "{headers: [x-env], claims: [tier]}")
    for when, unknown in (
        ("request.host != claims.tier", (["tier"], [])),
        ('"x-env" in request.headers', ([], ["x-env"])),
        ("request.host != agent.id", ([], [])),
    ):
        asked = listed.with_((*AT_READ_RULE, "when"), when)
        report = replayed(world, tmp_path, capsys, asked)[1]
        assert (report["unknown_claims"], report["unknown_headers"]) == unknown
    claims = LAB.with_((*AT_ALICE, "match", "claims"), {"tier": ["gold"]})
    status, report = replayed(world, tmp_path, capsys, claims)
    assert status == 1
    assert report["unknown_claims"] == ["tier"]
    assert report["undecidable"]["count"] == 6


def test_at_the_time_of_the_record(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A record is decided at its own time, not now, and the token's age is the one of then."""
    young = LAB.with_((*AT_READ_RULE, "max_token_age"), "30s")
    assert replayed(world, tmp_path, capsys, young)[1]["newly_denied"]["count"] == 0
    old = tmp_path / "old.jsonl"
    lines = [json.loads(line) for line in world.audit_path.read_text().splitlines()]
    for line in lines:
        line["time"] = "2031-01-01T00:00:00.000000Z"
    old.write_text("".join(json.dumps(line) + "\n" for line in lines))
    path = written(world, tmp_path, young)
    assert cli.main(["replay", str(path), "--audit", str(old), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["newly_denied"]["count"] == 4


def test_many_kinds(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """People are told the most frequent changes, and how many there are; machines all of them."""
    record = json.loads(world.audit_path.read_text().splitlines()[0])
    path, config = tmp_path / "many.jsonl", written(world, tmp_path, NARROW)
    path.write_text("".join(json.dumps({**record, "principal": f"p{n}"}) + "\n" for n in range(23)))
    old = tmp_path / "old.yaml"
    old.write_text(world.config_text)
    call = ["replay", str(config), "--audit", str(path), "--old", str(old)]
    assert cli.main(call) == 0
    out = capsys.readouterr().out
    assert "records: 23\n" in out
    assert "newly denied: 23\n" in out
    assert out.count(" for p") == 20
    assert "and 3 more kinds; --json" in out
    assert cli.main([*call, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["newly_denied"]["by"]) == 23


def test_bad_lines(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line that is no record is told with its number, the rest is decided, and it is 1."""
    good = world.audit_path.read_text().splitlines()
    bad = [
        "{",
        "[]",
        '{"decision":"allow"}',
        "\udcff",
        good[0].replace('"decision":"allow"', '"decision":"maybe"'),
        good[0].replace('"agent":"spiffe://', '"agent":"http://'),
        good[0].replace('"sub":', '"who":'),
        good[0].replace('"mode":"act"', '"mode":"other"'),
    ]
    path = tmp_path / "bad.jsonl"
    path.write_bytes("\n".join([*bad, "", *good]).encode("utf-8", "surrogateescape"))
    config = written(world, tmp_path, LAB)
    assert cli.main(["replay", str(config), "--audit", str(path)]) == 1
    out = capsys.readouterr().out
    assert "unchanged: 6" in out
    assert "bad lines: 8" in out
    for number in range(1, 9):
        assert f"bad.jsonl:{number}: " in out
    assert "bad.jsonl:8: its mode is invalid\n" in out  # in no words of Python's


def test_what_a_terminal_would_obey(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A record that somebody else wrote can't write to the operator's terminal."""
    record = json.loads(world.audit_path.read_text().splitlines()[0])
    path = tmp_path / "evil.jsonl"
    path.write_text(json.dumps({**record, "principal": "\x1b[2Jeve\n"}) + "\n")
    config = written(world, tmp_path, LAB)
    assert cli.main(["replay", str(config), "--audit", str(path)]) == 0
    out = capsys.readouterr().out
    assert "newly denied: 1" in out
    assert r"\x1b[2Jeve\n" in out
    assert "\x1b" not in out


def test_no_such_file(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An audit log that can't be read is told."""
    path = written(world, tmp_path, LAB)
    assert cli.main(["replay", str(path), "--audit", str(tmp_path / "none")]) == 1
    assert "can't be read: No such file" in capsys.readouterr().err


def test_who_is_refused_by_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Who was suspended in the config is policy's; who was revoked is not."""
    revoked = tmp_path / "revoked.jsonl"
    revoked.write_text("")
    with World(tmp_path, LAB.with_(("revocations",), {"file": str(revoked)})) as world:
        world.svid = world.authority.issue(RETIRED)
        world.ask(world.issuer.token(RETIRED, scope="balance:read"), principal=RETIRED)
        world.svid = world.authority.issue(PAYMENTS)
        revoked.write_text(json.dumps({"agent": PAYMENTS}) + "\n")
        world.revocations.refresh()
        world.ask(world.issuer.token(PAYMENTS, scope="balance:read"), principal=PAYMENTS)
        reasons = [record["reason"] for record in world.audit_records()]
        assert reasons == ["agent_suspended", "agent_suspended"]
        released = LAB.without(("agents", RETIRED, "suspended"))
        # No token had groups, which the config reads: only it can say that they would be recorded.
        assert replayed(world, tmp_path, capsys, released)[1]["undecidable"]["count"] == 1
        old = tmp_path / "old.yaml"
        old.write_text(world.config_text)
        status, report = replayed(world, tmp_path, capsys, released, "--old", str(old))
    assert status == 1
    assert report["newly_allowed"]["by"][0]["agent"] == RETIRED
    assert report["newly_allowed"]["count"] == 1
    assert report["not_by_policy"] == 1
