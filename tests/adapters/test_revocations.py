"""Revocations: each kind, at once for what is remembered too, and a bad file changes nothing."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.adapters.revocation_file import RevocationSettings
from authz.adapters.revocation_file.watched import RevocationFile
from authz.cli import main
from authz.config import Config
from authz.core.revocations import Revocation, RevocationError, read_entry
from authz.wiring.files import BuildError, read_revocations
from lab.config_builder import LAB
from lab.mesh import ISSUER, PAYMENTS, TRAVEL
from support.revocation_lines import parse
from support.world import World, reason_of

NOW = datetime.now(UTC)


def at(offset: float) -> str:
    """A time, so many seconds from now."""
    return datetime.fromtimestamp(time.time() + offset, UTC).isoformat()


@pytest.fixture
def revoking(tmp_path: Path) -> Iterator[World]:
    """A world with an empty file of revocations."""
    (tmp_path / "revoked.jsonl").touch()
    changes = LAB.with_section("revocations", f"{{file: '{tmp_path}/revoked.jsonl'}}")
    with World(tmp_path, changes) as world:
        yield world


def rest(revocations: RevocationFile) -> None:
    """Look at the file as a server does that finds it the same for more than a second."""
    now = time.monotonic()
    for look in range(8):
        revocations.refresh(now + look * 0.2)


def revoke(world: World, **entry: Any) -> None:
    """Add a line, and let the server look."""
    with (world.folder / "revoked.jsonl").open("a") as file:
        file.write(json.dumps(entry) + "\n")
    world.revocations.refresh()


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"agent": TRAVEL}, "agent_suspended"),
        ({"issuer": ISSUER}, "token_revoked"),
        ({"issuer": ISSUER, "before": at(36_000)}, "token_revoked"),
        ({"issuer": ISSUER, "subject": "alice"}, "token_revoked"),
        ({"issuer": ISSUER, "subject": "alice", "before": at(36_000)}, "token_revoked"),
        ({"issuer": ISSUER, "token_id": "this"}, "token_revoked"),
        ({"agent": PAYMENTS}, "allow"),
        ({"issuer": "https://other.example"}, "allow"),
        ({"issuer": ISSUER, "before": at(-3600)}, "allow"),
        ({"issuer": ISSUER, "subject": "bob"}, "allow"),
        ({"issuer": ISSUER, "subject": "alice", "before": at(-3600)}, "allow"),
        ({"issuer": ISSUER, "token_id": "that"}, "allow"),
    ],
)
def test_each_kind(revoking: World, entry: dict[str, Any], reason: str) -> None:
    """What is revoked is refused at once, though its decision is remembered; all else is not."""
    token = revoking.token(jti="this")
    assert [reason_of(revoking.ask(token)) for _ in range(2)] == ["allow", "allow"]
    revoke(revoking, **entry, note="why")

    assert reason_of(revoking.ask(token)) == reason
    assert reason_of(revoking.ask(token, path="/finance/other")) == reason


def test_a_new_token_after_a_revocation(revoking: World) -> None:
    """Tokens of a principal that are issued later are good."""
    old = revoking.token(iat=int(time.time()) - 10)
    revoke(revoking, issuer=ISSUER, subject="alice", before=at(-5))

    assert reason_of(revoking.ask(old)) == "token_revoked"
    assert reason_of(revoking.ask(revoking.token())) == "allow"


def test_taking_one_back(revoking: World) -> None:
    """A line taken out counts no more once the file rests; the refusal is not remembered either."""
    token = revoking.token()
    revoke(revoking, agent=TRAVEL)
    assert reason_of(revoking.ask(token)) == "agent_suspended"
    (revoking.folder / "revoked.jsonl").write_text("")
    revoking.revocations.refresh()
    assert reason_of(revoking.ask(token)) == "agent_suspended"
    rest(revoking.revocations.file)

    assert reason_of(revoking.ask(token)) == "allow"


def test_a_clock_that_is_set_back(revoking: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a clock that was ahead let expire counts again, without a change of the file."""
    token, clock = revoking.token(), time.time
    revoke(revoking, agent=TRAVEL, expires=at(3600))
    rest(revoking.revocations.file)
    assert reason_of(revoking.ask(token)) == "agent_suspended"
    with monkeypatch.context() as patched:
        patched.setattr(time, "time", lambda: clock() + 7200)
        revoking.revocations.refresh()
    assert len(revoking.revocations.file.current) == 0
    revoking.revocations.refresh()

    assert reason_of(revoking.ask(token)) == "agent_suspended"


def test_an_earlier_actor(revoking: World) -> None:
    """A revoked agent in a token's chain is recorded, as a suspended one is."""
    token = revoking.token(act={"sub": TRAVEL, "act": {"sub": PAYMENTS}})
    assert reason_of(revoking.ask(token)) == "allow"
    revoke(revoking, agent=PAYMENTS)
    assert reason_of(revoking.ask(token)) == "allow"

    flags = [record["flags"] for record in revoking.audit_records()]
    assert flags == [[], ["earlier_actor_suspended"]]


def test_an_earlier_actor_that_is_refused(tmp_path: Path) -> None:
    """With suspended: deny, such a token is refused; and again let pass once that is taken back."""
    (tmp_path / "revoked.jsonl").touch()
    changes = LAB.with_section("revocations", f"{{file: '{tmp_path}/revoked.jsonl'}}")
    changes = changes.with_section("earlier_actors", "{suspended: deny}")
    with World(tmp_path, changes) as world:
        token = world.token(act={"sub": TRAVEL, "act": {"sub": PAYMENTS}})
        assert reason_of(world.ask(token)) == "allow"
        revoke(world, agent=PAYMENTS)
        assert reason_of(world.ask(token)) == "actor_not_permitted"
        assert reason_of(world.ask(world.token())) == "allow"
        (tmp_path / "revoked.jsonl").write_text("")
        rest(world.revocations.file)
        assert reason_of(world.ask(token)) == "allow"


BAD = [
    ("{", "line 1: "),
    ('{"agent":"spiffe://c/a"}\n{"issuer":1}', "line 2: Expected"),
    ('{"agnet":"a"}', "unknown field `agnet`"),
    ("{}", "agent or issuer is required"),
    ('{"subject":"alice"}', "agent or issuer is required"),
    ('{"agent":"a","issuer":"b"}', "agent must be given alone"),
    ('{"issuer":"b","token_id":""}', "must not be empty"),
    ('{"issuer":"b","subject":""}', "must not be empty"),
    ('{"issuer":""}', "must not be empty"),
    ('{"agent":"travel"}', "line 1: agent: the ID does not start with spiffe://"),
    ('{"agent":"spiffe://corp.example/ns/*"}', "line 1: agent: "),
    ('{"issuer":"b","token_id":"c","subject":"d"}', "token_id must be given with issuer alone"),
    ('{"issuer":"b","before":"2026-01-01T00:00:00"}', "timezone"),
    ('{"issuer":"b","before":12}', "Expected"),
    ("\udcff", "line 1: "),
    ('{"issuer":"a","issuer":"b"}', "line 1: a member name occurs twice"),
    ('{"issuer":"a","subject":"x","subject":"y"}', "a member name occurs twice"),
    ('{"agent":"spiffe://c/a","\\u0061gent":"spiffe://c/b"}', "a member name occurs twice"),
    ('{"subject":null,"issuer":"b","subject":"y"}', "a member name occurs twice"),
    ('{"note":"","issuer":"b","note":"","note":""}', "a member name occurs twice"),
    ('{"issuer":"b","before":"2026-01-01T00:00:00Z","before":null}', "a member name occurs twice"),
]
# How entries may be written beside.
ODD = [
    '{"issuer": "a", "subject": null, "token_id": null, "note": null}',
    ' {"issuer": "a"}\r',
    '{"issuer": "\\u0061"}',
    '{"issuer":"a","note":"he said \\"issuer\\":"}',
    '{"issuer":"a","note":":::,,,{}"}',
]


@pytest.mark.parametrize("line", ODD, ids=range(len(ODD)))
def test_other_spellings(line: str) -> None:
    """What JSON can be written in, each member once, is the same entry."""
    assert msgspec.structs.replace(read_entry(line.encode()), note=None) == Revocation(issuer="a")


@pytest.mark.parametrize(("text", "message"), BAD, ids=range(len(BAD)))
def test_a_bad_line(revoking: World, text: str, message: str) -> None:
    """It is named; the file is not taken, and what was revoked stays so. A start is refused."""
    token = revoking.token()
    revoke(revoking, agent=TRAVEL)
    path = revoking.folder / "revoked.jsonl"
    path.write_bytes(text.encode(errors="surrogateescape"))
    rest(revoking.revocations.file)

    assert reason_of(revoking.ask(token)) == "agent_suspended"
    status = revoking.revocations.file.status()
    assert (status.taken, status.refused) == (1, 1)
    with pytest.raises(RevocationError, match=r"revoked\.jsonl: line") as error:
        RevocationFile(RevocationSettings(file=str(path)))
    assert message in str(error.value)


def test_a_file_that_is_gone(revoking: World) -> None:
    """What was revoked stays so; and a start without the file is refused."""
    token, path = revoking.token(), revoking.folder / "revoked.jsonl"
    revoke(revoking, agent=TRAVEL)
    path.unlink()
    rest(revoking.revocations.file)

    status = revoking.revocations.file.status()
    assert (status.taken, status.refused) == (1, 1)
    assert reason_of(revoking.ask(token)) == "agent_suspended"
    with pytest.raises(RevocationError, match="can't be read: No such file"):
        RevocationFile(RevocationSettings(file=str(path)))


def test_a_file_that_was_never_there(tmp_path: Path) -> None:
    """A start without the file says how to begin one."""
    config = Config.model_construct(revocations=RevocationSettings(file=str(tmp_path / "new")))
    with pytest.raises(BuildError, match="No such file or directory; if it is new, begin with an"):
        read_revocations(config)


def test_a_long_refresh_tells_its_progress(tmp_path: Path) -> None:
    """Who watches the thread hears of it while many lines are put into force, and taken back."""
    path = tmp_path / "revoked.jsonl"
    path.touch()
    revocations = RevocationFile(RevocationSettings(file=str(path)))
    beats: list[int] = []
    revocations.progress = lambda: beats.append(len(revocations.current))
    lines = [json.dumps({"issuer": ISSUER, "token_id": f"t{number}"}) for number in range(20_000)]
    path.write_text("\n".join(lines))

    revocations.refresh()

    assert len(revocations.current) == 20_000
    assert beats[0] == 0  # while they were read
    assert any(0 < beat < 20_000 for beat in beats)  # while they were added
    path.write_text("")
    beats.clear()
    rest(revocations)
    assert len(revocations.current) == 0
    assert beats


def test_the_command(revoking: World, capsys: pytest.CaptureFixture[str]) -> None:
    """``authz revoke`` adds a line that counts; by default for what was issued until now."""
    config = revoking.folder / "authz.yaml"
    config.write_text(revoking.config_text)
    token = revoking.token(iat=int(time.time()) - 10)
    assert reason_of(revoking.ask(token)) == "allow"
    assert main(["revoke", str(config), "--issuer", ISSUER, "--subject", "alice"]) == 0
    assert "revoked; takes effect within a second: {" in capsys.readouterr().out
    revoking.revocations.refresh()
    assert reason_of(revoking.ask(token)) == "token_revoked"
    assert main(["revoke", str(config), "--agent", TRAVEL, "--note", "found abroad"]) == 0
    revoking.revocations.refresh()
    assert reason_of(revoking.ask(token)) == "agent_suspended"

    assert main(["revoke", str(config), "--subject", "alice"]) == 2
    assert "agent or issuer is required" in capsys.readouterr().err
    before = (revoking.folder / "revoked.jsonl").read_bytes()
    for flags, words in (
        (
            ("--agent", "travel"),
            f"agent: the ID does not start with spiffe://; did you mean {TRAVEL}?",
        ),
        (
            ("--agent", TRAVEL.replace("corp", "copr")),
            "its trust domain is not one of corp.example",
        ),
        (("--issuer", f"{ISSUER}/", "--subject", "alice"), f"did you mean {ISSUER}?"),
    ):
        assert main(["revoke", str(config), *flags]) == 2
        assert words in capsys.readouterr().err
    assert (revoking.folder / "revoked.jsonl").read_bytes() == before
    with pytest.raises(SystemExit):
        main(["revoke", str(config), "--issuer", "i", "--before", "yesterday"])
    assert "not a time such as" in capsys.readouterr().err


def test_the_command_without_a_file(
    shared_world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the config names no file the command says so."""
    config = tmp_path / "authz.yaml"
    config.write_text(shared_world.config_text)

    assert main(["revoke", str(config), "--agent", TRAVEL]) == 2
    assert "the config sets neither revocations.file nor store" in capsys.readouterr().err


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    """Whatever the file holds: entries, or the one error with a line."""
    try:
        found = parse(data)
    except RevocationError as error:
        message = str(error)
    else:
        message = f"line {len(found)}"
    assert message.startswith("line ")
