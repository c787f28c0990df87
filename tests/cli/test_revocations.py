"""``authz revocations``, and what ``authz revoke`` refuses: a typing error revokes nobody."""

import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.adapters.entry_file import writing
from authz.adapters.files import replace
from authz.adapters.revocation_file.writing import append, take_back
from authz.core import entry_lines
from authz.core.entry_lines import EntryError
from authz.core.revocations import Revocation, read_entries
from lab.config_builder import LAB
from lab.mesh import ISSUER, PAYMENTS, RETIRED, TRAVEL
from support.revocation_lines import parse
from support.serving import Serving
from support.verbs import edit, run, write_config
from support.world import wait_until

TAKE_BACK = """
import sys
from pathlib import Path
from authz.adapters.revocation_file.writing import take_back
for name in sys.argv[2:]:
    take_back(Path(sys.argv[1]), [name])
"""
Told = Callable[..., tuple[int, str, str]]


@pytest.fixture
def told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Told:
    """Run a verb on a config with a revocation file; return status, output and complaints."""
    config = write_config(tmp_path)
    (tmp_path / "revoked").touch()
    edit(config, LAB.with_section("revocations", f"{{file: '{tmp_path}/revoked'}}"))
    pattern = '- {id: "spiffe://corp.example/ns/*/sa/batch/**", grants: [public]}'
    edit(config, LAB.with_items(("agents",), pattern))

    def tell(verb: str, *flags: str) -> tuple[int, str, str]:
        status = run(verb, str(config), *flags)
        said = capsys.readouterr()
        return status, said.out, said.err

    return tell


BATCH = "spiffe://corp.example/ns/x/sa/batch"
MISTYPED = [
    (("--agent", TRAVEL.replace("travel", "travle")), f"did you mean {TRAVEL}?"),
    (("--agent", f"{BATCH}es/one"), f"did you mean {BATCH}/one?"),
    (
        ("--agent", "spiffe://corp.example/a"),
        f"; its IDs: spiffe://corp.example/ns/*/sa/batch/**, {PAYMENTS}, {RETIRED}, {TRAVEL};",
    ),
    (("--agent", TRAVEL.replace("corp", "copr")), "did you mean corp.example?"),
    (("--issuer", f"{ISSUER}/"), f"did you mean {ISSUER}?"),
]


@pytest.mark.parametrize(("flags", "words"), MISTYPED)
def test_a_typing_error(told: Told, tmp_path: Path, flags: Sequence[str], words: str) -> None:
    """A name that the config does not know is refused with the nearest, unless it is forced."""
    status, out, err = told("revoke", *flags)
    assert (status, out) == (2, "")
    assert words in err
    assert err.endswith("; with --force it is revoked all the same\n")
    assert not (tmp_path / "revoked").read_bytes()
    assert told("revoke", *flags, "--force")[0] == 0
    assert len(parse((tmp_path / "revoked").read_bytes())) == 1
    assert "(the config does not know it)" in told("revocations")[1]


@pytest.mark.parametrize("agent", [TRAVEL, f"{BATCH}/one", f"{BATCH}/one/two"])
def test_an_agent_that_an_entry_fits(told: Told, agent: str) -> None:
    """An agent whose ID is listed, or that a pattern of agents matches, is revoked."""
    assert told("revoke", "--agent", agent)[0] == 0


def test_a_pattern_is_not_an_agent(told: Told) -> None:
    """A pattern can't be revoked, by force neither; the message says what stops all its agents."""
    status, _, err = told("revoke", "--agent", "spiffe://corp.example/ns/*", "--force")
    assert status == 2
    assert "set suspended: true in its entry" in err


def test_the_list(told: Told) -> None:
    """It says whom, since when and why; with --json as one object; flags narrow it."""
    assert told("revocations")[1].startswith("0 entries in ")
    told("revoke", "--agent", TRAVEL, "--note", "found\x1b[2J abroad")
    told("revoke", "--issuer", ISSUER, "--subject", "alice", "--before", "2026-11-25T10:00:00Z")
    status, out, err = told("revocations")
    assert (status, err) == (0, "")
    head, first, second, count = out.splitlines()
    assert head.split("  ")[0] == "ID"
    assert f"agent {TRAVEL}" in first
    assert first.endswith("found\\x1b[2J abroad")
    assert f"issuer {ISSUER}, subject alice" in second
    assert "2026-11-25T10:00:00Z" in second
    assert count.startswith("2 entries in ")
    assert "alice" not in told("revocations", "--agent", TRAVEL)[1]

    found = json.loads(told("revocations", "--issuer", ISSUER, "--json")[1])
    (entry,) = found["entries"]
    assert (entry["subject"], entry["line"], entry["is_in_config"]) == ("alice", 2, True)
    since = datetime.fromisoformat(entry["since"])
    assert abs((datetime.now(UTC) - since).total_seconds()) < 3600
    assert entry["id"] in second


def test_what_a_script_keeps(told: Told, tmp_path: Path) -> None:
    """A revocation's object has the id by which it is taken back; a refusal has its cause."""
    status, out, err = told("revoke", "--agent", TRAVEL, "--note", "ticket 7", "--json")
    answer = json.loads(out)
    where = {"source": "file", "where": f"{tmp_path}/revoked", "is_written": True, "error": None}
    assert (status, err, answer["sources"]) == (0, "", [where])
    revoked = answer["revoked"]
    assert (revoked["agent"], revoked["note"]) == (TRAVEL, "ticket 7")
    assert told("revocations", "--id", revoked["id"], "--take-back")[0] == 0
    assert not parse((tmp_path / "revoked").read_bytes())

    status, out, err = told("revoke", "--agent", f"{TRAVEL}l", "--json")
    (problem,) = json.loads(out)["problems"]
    assert status == 2
    assert f"did you mean {TRAVEL}?" in problem["message"]
    assert problem["message"] in err


def test_invalid_lines(told: Told, tmp_path: Path) -> None:
    """They are told with their numbers, and why; nothing is taken back from such a file."""
    told("revoke", "--agent", TRAVEL)
    with (tmp_path / "revoked").open("a") as file:
        file.write('\n{"agnet": "a"}\n{"subject": "a"}\n')
    before = (tmp_path / "revoked").read_bytes()
    status, out, err = told("revocations", "--json")
    found = json.loads(out)
    assert status == 1
    assert [entry["line"] for entry in found["entries"]] == [1]
    assert [line["line"] for line in found["invalid"]] == [3, 4]
    assert "line 3: Object contains unknown field `agnet`" in err
    assert "servers do not load a file with an invalid line" in err
    assert told("revocations", "--agent", TRAVEL, "--take-back")[0] == 1
    assert (tmp_path / "revoked").read_bytes() == before


def test_taking_back(told: Told, tmp_path: Path) -> None:
    """It says what was taken back, and what still applies: an entry of the same, a suspension."""
    for note in ("one", "two"):
        told("revoke", "--agent", RETIRED, "--note", note)
    told("revoke", "--agent", TRAVEL)
    listed = json.loads(told("revocations", "--json")[1])["entries"]
    status, out, err = told("revocations", "--agent", RETIRED, "--take-back")
    assert (status, out) == (2, "")
    assert "2 entries revoke it; name each by --id" in err
    assert all(entry["id"] in err for entry in listed[:2])

    status, out, _ = told("revocations", "--id", listed[0]["id"], "--take-back")
    assert status == 0
    first, when, second, third = out.splitlines()
    assert first.startswith(f"taken back: {listed[0]['id']}: ")
    assert first.endswith(", one")
    assert when == (
        f"takes effect on every server that reads {tmp_path}/revoked "
        "when the file has rested for a second"
    )
    assert second.startswith(f"still revoked by: {listed[1]['id']}: ")
    assert third == f"still suspended in the config by the entry of agents {RETIRED}"
    _, out, _ = told("revocations", "--id", listed[1]["id"], "--take-back", "--json")
    answer = json.loads(out)
    assert [one["note"] for one in answer["taken_back"]] == ["two"]
    assert answer["still_revoked_by"] == []
    assert answer["suspended_by"] == [RETIRED]
    left = [entry for _, entry in read_entries((tmp_path / "revoked").read_bytes())]
    assert [entry.agent for entry in left if isinstance(entry, Revocation)] == [TRAVEL]


def test_what_still_applies_to_tokens(told: Told) -> None:
    """Of a principal's tokens: entries of all of the issuer's, and none of another principal's."""
    told("revoke", "--issuer", ISSUER, "--subject", "alice")
    told("revoke", "--issuer", ISSUER, "--subject", "bob")
    told("revoke", "--issuer", ISSUER)
    _, out, _ = told("revocations", "--issuer", ISSUER, "--subject", "alice", "--take-back")
    assert len(out.splitlines()) == 3
    assert f"still revoked by: {out.splitlines()[2].split()[3]} issuer {ISSUER}, issued" in out


UNCERTAIN: list[tuple[Sequence[str], str]] = [
    ((), "say which: by --agent, --issuer and the like, or by --id"),
    (("--id", "0" * 12), "no entry has the id"),
    (("--agent", TRAVEL[:-1]), f"no entry revokes it; did you mean {TRAVEL}?"),
    (("--issuer", ISSUER), "no entry revokes exactly that; name those that are meant by --id\n"),
    (("--subject", "alice"), "no entry revokes exactly that; name those that are meant by --id\n"),
    (("--id", "0" * 12, "--agent", TRAVEL), "leave out the other flags"),
]


@pytest.mark.parametrize(("flags", "words"), UNCERTAIN)
def test_what_is_not_certain(told: Told, tmp_path: Path, flags: Sequence[str], words: str) -> None:
    """Nothing is taken back unless the flags name exactly one entry."""
    told("revoke", "--agent", TRAVEL)
    told("revoke", "--issuer", ISSUER, "--subject", "alice")
    before = (tmp_path / "revoked").read_bytes()
    status, out, err = told("revocations", *flags, "--take-back")
    assert (status, out) == (2, "")
    assert words in err
    assert (tmp_path / "revoked").read_bytes() == before


def test_a_running_server(tmp_path: Path) -> None:
    """What the command revokes is refused, and what it takes back is allowed again."""
    with Serving(tmp_path) as serving:
        config = str(serving.config)
        serving.read_until("serving")
        serving.until("allow")
        assert run("revoke", config, "--agent", TRAVEL) == 0
        assert run("revoke", config, "--agent", PAYMENTS) == 0
        serving.until("agent_suspended")
        assert run("revocations", config, "--agent", PAYMENTS, "--take-back") == 0
        wait_until(lambda: serving.metric('authz_revocations{source="file"}') == 1)
        assert serving.ask() == "agent_suspended"
        assert run("revocations", config, "--agent", TRAVEL, "--take-back") == 0
        assert serving.ask() == "agent_suspended", "before the file rests"
        serving.until("allow")
        assert serving.metric('authz_revocation_reloads_total{source="file",result="refused"}') == 0
        assert serving.stop() == 0


def tokens(*names: str) -> list[Revocation]:
    """Entries of tokens."""
    return [Revocation(issuer="i", token_id=name) for name in names]


def names_of(path: Path) -> list[str | None]:
    """The tokens of the file's entries."""
    read = [entry for _, entry in read_entries(path.read_bytes())]
    return [entry.token_id for entry in read if isinstance(entry, Revocation)]


def test_many_at_once(tmp_path: Path) -> None:
    """Processes that take back and revoke at once lose no change of each other."""
    path = tmp_path / "revoked"
    path.touch()
    old = tokens(*map(str, range(40)))
    for entry in old:
        append(path, entry)
    halves = old[:20:2], old[1:20:2]
    children = [
        subprocess.Popen([sys.executable, "-c", TAKE_BACK, path, *(one.id for one in half)])
        for half in halves
    ]
    new = tokens(*"abcdefghij")
    for entry in new:
        append(path, entry)
    assert [child.wait() for child in children] == [0, 0]
    assert names_of(path) == [one.token_id for one in (*old[20:], *new)]


def test_what_others_add_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that is added without the lock meanwhile stays."""
    path = tmp_path / "revoked"
    path.touch()
    one, two, late = tokens("one", "two", "late")
    append(path, one)
    append(path, two)

    def replace_late(path: Path, data: bytes) -> None:
        with path.open("ab") as file:
            file.write(b'{"issuer":"i","token_id":"late"}\n')
        replace(path, data)

    monkeypatch.setattr(writing, "replace", replace_late)
    assert take_back(path, [one.id]) == [two]
    assert names_of(path) == ["two", late.token_id]


def test_taken_back_already(tmp_path: Path) -> None:
    """An entry that is gone is an error, and then none of the others is taken back."""
    path = tmp_path / "revoked"
    path.touch()
    one, two = tokens("one", "two")
    append(path, one)
    with pytest.raises(EntryError, match=f"no entry has the id {two.id}"):
        take_back(path, [one.id, two.id])
    assert names_of(path) == ["one"]


TEXTS = st.sampled_from(["a", "b", "\u2028", '"{\\', "{", "\r"])
ENTRIES = st.one_of(
    st.builds(Revocation, agent=st.sampled_from([TRAVEL, PAYMENTS]), note=TEXTS | st.none()),
    st.builds(Revocation, issuer=TEXTS, token_id=TEXTS, note=TEXTS | st.none()),
    st.builds(
        Revocation,
        issuer=TEXTS,
        subject=TEXTS | st.none(),
        before=st.none() | st.datetimes(datetime(2026, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - bounds are naive
    ),
)
STEPS = st.lists(st.tuples(st.booleans(), ENTRIES), max_size=12)


@pytest.mark.parametrize("names", [1, 2])
@given(steps=STEPS, blank=st.sampled_from([b"", b"\n", b" \r\n\n", b"\r"]))
def test_like_a_list(steps: list[tuple[bool, Revocation]], names: int, blank: bytes) -> None:
    """Revoking and taking back are appending to a list and removing from it, in place too."""
    with TemporaryDirectory() as name:
        path = Path(name) / "revoked"
        path.write_bytes(blank)
        if names > 1:  # then the file is written in place
            (Path(name) / "other").hardlink_to(path)
        model: list[Revocation] = []
        for is_new, entry in steps:
            if is_new:
                append(path, entry)
                model.append(entry)
            elif entry in model:
                model = [one for one in model if one != entry]
                assert take_back(path, [entry.id]) == model
            else:
                with pytest.raises(EntryError):
                    take_back(path, [entry.id])
            assert [one for _, one in read_entries(path.read_bytes())] == model
            assert len(parse(path.read_bytes())) == len({*model})


@given(ENTRIES, ENTRIES, st.data())
def test_half_a_blank_line(entry: Revocation, other: Revocation, data: Any) -> None:
    """A line that is overwritten in part makes the file invalid: it never revokes less."""
    with TemporaryDirectory() as name:
        path = Path(name) / "revoked"
        path.touch()
        append(path, entry)
        line = path.read_bytes().rstrip()
        blanks = data.draw(st.integers(1, len(line) - 1))
        append(path, other)
        with pytest.raises(EntryError):
            parse(b" " * blanks + path.read_bytes()[blanks:])


def test_two_entries_that_share_an_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither is taken out in the other's place; one that stands there twice is, twice."""
    monkeypatch.setattr(entry_lines, "_ID_CHARS", 1)
    made = [Revocation(issuer=ISSUER, subject=f"user-{number}") for number in range(17)]
    one, other = next((a, b) for a in made for b in made if a is not b and a.id == b.id)
    path = tmp_path / "revoked"
    path.touch()
    for entry in (one, one, other):
        append(path, entry)
    before = path.read_bytes()

    with pytest.raises(EntryError, match="two entries that differ"):
        take_back(path, [one.id])
    assert path.read_bytes() == before
    monkeypatch.undo()
    assert take_back(path, [one.id]) == [other]


def test_the_printed_command_can_be_pasted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A config's name with spaces or more is quoted in the command that takes back."""
    (tmp_path / "revoked").touch()
    config = write_config(tmp_path)
    edit(config, LAB.with_section("revocations", f"{{file: '{tmp_path}/revoked'}}"))
    odd = config.rename(tmp_path / "a $(touch b)'.yaml")

    assert run("revoke", str(odd), "--agent", TRAVEL) == 0
    words = shlex.split(capsys.readouterr().out.partition("take it back: ")[2])
    assert words[:3] == ["authz", "revocations", str(odd)]
