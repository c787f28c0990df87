"""``authz revoke`` and ``authz revocations`` where servers share a store, which may be away."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from authz.adapters.entry_file.writing import EntryFile
from authz.cli import entry_sources as sources
from authz.core.revocations import Revocation, RevocationError, read_entries, read_entry
from lab.config_builder import LAB
from lab.mesh import ISSUER, PAYMENTS, TRAVEL
from support.redis_server import RedisServer
from support.verbs import edit, run, write_config
from support.world import wait_until

TOOL_RULE = {
    "hosts": ["mcp.corp.example"],
    "methods": ["POST"],
    "paths": ["/mcp"],
    "scopes": [],
    "mcp": {"tools": ["transfer_money", "get_*"]},
}
Told = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """A store's server, which each test uses in a namespace of its own."""
    with RedisServer() as server:
        yield server


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for a store that is away."""
    monkeypatch.setattr(sources, "PATIENCE_SECONDS", 0.0)


def configure(folder: Path, url: str, **more: Any) -> Path:
    """Write a config with a store of this URL, in a namespace of the folder's name."""
    config = write_config(folder)
    namespace = folder.name.replace("[", "-").replace("]", "")
    store = {"url": url, "insecure": True, "namespace": namespace, **more}
    edit(config, LAB.with_(("store",), store).and_(LAB.with_(("grants", "tools"), [TOOL_RULE])))
    return config


def with_file(config: Path) -> Path:
    """Give a config a revocation file, and return its path."""
    path = config.parent / "revoked"
    path.touch()
    edit(config, LAB.with_(("revocations",), {"file": str(path)}))
    return path


def teller(config: Path, capsys: pytest.CaptureFixture[str]) -> Told:
    """Return what runs a verb on a config: it returns status, output and complaints."""

    def tell(verb: str, *flags: str) -> tuple[int, str, str]:
        status = run(verb, str(config), *flags)
        said = capsys.readouterr()
        return status, said.out, said.err

    return tell


@pytest.fixture
def told(tmp_path: Path, server: RedisServer, capsys: pytest.CaptureFixture[str]) -> Told:
    """Run a verb on a config with a store and no file."""
    return teller(configure(tmp_path, server.url), capsys)


@pytest.fixture
def both(tmp_path: Path, server: RedisServer, capsys: pytest.CaptureFixture[str]) -> Told:
    """Run a verb on a config with a store and a file."""
    config = configure(tmp_path, server.url)
    with_file(config)
    return teller(config, capsys)


def listed(told: Told, *flags: str) -> list[dict[str, Any]]:
    """Return the entries that are listed."""
    entries: list[dict[str, Any]] = json.loads(told("revocations", "--json", *flags)[1])["entries"]
    return entries


def test_both_places(both: Told, tmp_path: Path) -> None:
    """An entry is the same in the file and in the store; taking it back removes it from both."""
    status, out, err = both("revoke", "--agent", TRAVEL, "--note", "ticket 7", "--by", "alice")
    assert (status, err) == (0, "")
    first, in_file, in_store, last = out.splitlines()
    assert first.startswith("revoked; takes effect within a second: {")
    assert in_file == f"on every server that reads {tmp_path}/revoked"
    assert in_store.startswith(
        f"on every server of namespace {tmp_path.name} that reaches redis://"
    )
    [(_, entry)] = read_entries((tmp_path / "revoked").read_bytes())
    assert isinstance(entry, Revocation)
    assert last.endswith(f" --id {entry.id} --take-back")

    [found] = listed(both)
    assert (found["id"], found["sources"], found["line"]) == (entry.id, ["file", "store"], 1)
    assert (found["by"], found["note"]) == ("alice", "ticket 7")
    assert "file, store" in both("revocations")[1]

    status, out, err = both("revocations", "--agent", TRAVEL, "--take-back")
    assert (status, err) == (0, "")
    assert out.splitlines()[1:] == [
        f"takes effect {in_store} within a second",
        f"takes effect {in_file} when the file has rested for a second",
    ]
    assert listed(both) == []
    assert (tmp_path / "revoked").read_bytes() == b""


def test_one_of_both(both: Told, tmp_path: Path) -> None:
    """--source writes, lists and takes back in one place alone."""
    both("revoke", "--agent", TRAVEL, "--source", "store")
    both("revoke", "--agent", PAYMENTS, "--source", "file")
    assert [entry["sources"] for entry in listed(both)] == [["file"], ["store"]]
    [in_store] = listed(both, "--source", "store")
    assert in_store["agent"] == TRAVEL
    assert both("revocations", "--agent", TRAVEL, "--take-back", "--source", "file")[0] == 2
    assert both("revocations", "--id", in_store["id"], "--take-back")[0] == 0
    assert len((tmp_path / "revoked").read_bytes().splitlines()) == 1


def test_a_place_that_the_config_lacks(told: Told) -> None:
    """A config without a file has none to write, and the message names the key."""
    status, _, err = told("revoke", "--agent", TRAVEL, "--source", "file")
    assert (status, err) == (2, "authz: the config does not set revocations.file\n")


def test_a_file_of_another_machine(both: Told, tmp_path: Path) -> None:
    """Where the file is not there the store alone has the entry, which is no failure."""
    (tmp_path / "revoked").unlink()
    status, out, err = both("revoke", "--agent", TRAVEL)
    assert (status, err) == (0, "")
    written, missing = out.splitlines()[1:3]
    assert written.startswith("on every server of namespace ")
    assert missing.startswith("only there, as the file can't be written: ")
    status, out, _ = both("revoke", "--agent", PAYMENTS, "--json")
    places = json.loads(out)["sources"]
    assert status == 0
    assert [(one["source"], one["is_written"]) for one in places] == [
        ("file", False),
        ("store", True),
    ]
    assert "No such file" in places[0]["error"]


def test_history(told: Told) -> None:
    """The store's history says who revoked what and took it back, and why; flags narrow it."""
    told("revoke", "--agent", TRAVEL, "--by", "alice\x1b[2J", "--note", "found abroad")
    told("revoke", "--tool", "get_balance", "--by", "bob", "--note", "loops")
    told("revocations", "--agent", TRAVEL, "--take-back", "--by", "carol", "--note", "rotated")
    status, out, err = told("revocations", "--history")
    assert (status, err) == (0, "")
    head, *rows, count = out.splitlines()
    assert head.split() == ["WHEN", "DONE", "BY", "ID", "WHAT", "WHY"]
    assert ["taken back" in row for row in rows] == [True, False, False]
    assert rows[0].endswith("rotated")
    assert "carol" in rows[0]
    assert "alice\\x1b[2J" in rows[2]
    assert rows[2].endswith("found abroad")
    assert count.startswith("3 changes in ")

    assert told("revocations", "--history", "-n", "0")[:2] == (0, f"0 {count[2:]}\n")
    flags = "--history", "--json", "--agent", TRAVEL, "-n", "2"
    changes = json.loads(told("revocations", *flags)[1])["changes"]
    assert [(one["by"], one["is_added"], one["note"]) for one in changes] == [
        ("carol", False, "rotated")
    ]
    assert changes[0]["entry"]["agent"] == TRAVEL
    [only] = json.loads(
        told("revocations", "--history", "--json", "--id", listed(told)[0]["id"])[1]
    )["changes"]
    assert only["by"] == "bob"
    made_at = datetime.fromisoformat(changes[0]["at"])
    assert abs(datetime.now(UTC) - made_at) < timedelta(hours=1)


def test_history_of_both(both: Told, tmp_path: Path) -> None:
    """The file's history is told with the store's, and a change that it lacks is complained of."""
    both("revoke", "--agent", TRAVEL, "--note", "found abroad")
    both("revocations", "--agent", TRAVEL, "--take-back", "--by", "carol", "--note", "rotated")
    changes = json.loads(both("revocations", "--history", "--json")[1])["changes"]
    found = {(one["source"], one["is_added"], one["note"]) for one in changes}
    assert found == {
        (source, is_added, None if is_added else "rotated")
        for source in ("file", "store")
        for is_added in (True, False)
    }
    assert "UNTIL" not in both("revocations", "--history")[1]

    history = tmp_path / "revoked.history"
    history.unlink()
    history.mkdir()
    status, out, err = both("revoke", "--agent", TRAVEL)
    assert (status, out.startswith("revoked; ")) == (0, True)
    assert f"the change is not in the history, {history}: Is a directory" in err
    status, out, err = both("revocations", "--agent", TRAVEL, "--take-back")
    assert (status, out.startswith("taken back: ")) == (0, True)
    assert f"the change is not in the history, {history}: Is a directory" in err
    assert both("revocations", "--history")[0] == 1


def test_everything(told: Told) -> None:
    """A stop of everything needs a note, says what it does, and is taken back by its flag."""
    status, out, err = told("revoke", "--everything")
    assert (status, out, "--note" in err) == (2, "", True)
    assert told("revoke", "--everything", "--note", " ")[0] == 2
    assert listed(told) == []
    status, out, _ = told("revoke", "--everything", "--note", "incident 4711")
    assert status == 0
    assert "EVERYTHING IS STOPPED" in out
    told("revoke", "--agent", TRAVEL)
    status, out, _ = told("revocations", "--agent", TRAVEL, "--take-back")
    assert "still revoked by: " in out
    assert "everything" in out
    assert told("revocations", "--everything", "--take-back")[0] == 0
    assert listed(told) == []


def test_a_long_note(told: Told) -> None:
    """An entry that is too long for servers to read is refused."""
    status, _, err = told("revoke", "--agent", TRAVEL, "--note", "x" * 20_000)
    assert (status, "shorten --note" in err) == (2, True)
    assert listed(told) == []


def test_what_has_ended(told: Told) -> None:
    """An entry that has expired is told so, and is not meant while another is in force."""
    told("revoke", "--agent", TRAVEL, "--expires", "1s")
    wait_until(lambda: [entry["is_expired"] for entry in listed(told)] == [True])
    assert "(expired: it does not count)" in told("revocations")[1]
    told("revoke", "--agent", TRAVEL)
    assert told("revocations", "--agent", TRAVEL, "--take-back")[0] == 0
    assert [entry["is_expired"] for entry in listed(told)] == [True]
    assert told("revocations", "--agent", TRAVEL, "--take-back")[0] == 0
    assert listed(told) == []


def test_a_tool(told: Told) -> None:
    """A tool that no rule names is a typing error; names and patterns of rules are known."""
    status, _, err = told("revoke", "--tool", "transfer_mony")
    assert status == 2
    assert "did you mean transfer_money?" in err
    for name in ("transfer_money", "get_balance"):
        assert told("revoke", "--tool", name)[0] == 0
    assert told("revoke", "--tool", "drop_tables", "--force")[0] == 0
    assert [entry["is_in_config"] for entry in listed(told, "--tool", "drop_tables")] == [False]


@pytest.mark.parametrize(
    ("flags", "is_timed"),
    [
        (("--subject", "alice"), True),
        (("--email", "alice@corp.example"), True),
        ((), True),
        (("--subject", "alice", "--any-time"), False),
        (("--session", "s1"), False),
        (("--token-id", "t1"), False),
    ],
)
def test_which_tokens(told: Told, flags: tuple[str, ...], is_timed: bool) -> None:  # noqa: FBT001 - a case
    """Tokens issued until now are revoked, and with --any-time, of sessions and by id, all."""
    assert told("revoke", "--issuer", ISSUER, *flags)[0] == 0
    [entry] = listed(told)
    assert ("before" in entry) == is_timed


def test_times(told: Told, capsys: pytest.CaptureFixture[str]) -> None:
    """An entry ends when it says; a past time, and times that exclude each other, are refused."""
    now = datetime.now(UTC)
    status, out, _ = told("revoke", "--agent", TRAVEL, "--expires", "2h")
    assert (status, "it ends by itself at " in out) == (0, True)
    [entry] = listed(told)
    ends = datetime.fromisoformat(entry["expires"])
    assert timedelta(hours=1) < ends - now < timedelta(hours=3)
    for past in ("2020-01-01T00:00:00Z", "0s"):
        with pytest.raises(SystemExit, match="2"):
            told("revoke", "--agent", TRAVEL, "--expires", past)
        assert f"{past!r} is not a time to come" in capsys.readouterr().err
    flags = "--issuer", ISSUER, "--any-time", "--before", "2026-01-01T00:00:00Z"
    status, _, err = told("revoke", *flags)
    assert (status, "contradict each other" in err) == (2, True)
    assert len(listed(told)) == 1


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--before", "2026-11-25T10:00:00+01:00:30"),  # JSON would lose the seconds of the zone
        ("--before", "0001-01-01T00:00:00+14:00"),  # the year 0 in UTC
        ("--expires", "9999-12-31T23:59:59-14:00"),
        ("--note", "caf\udce9"),  # how Python reads bytes that are not UTF-8
        ("--by", "caf\udce9"),
        ("--subject", "caf\udce9"),
    ],
)
def test_what_an_entry_can_not_hold(
    told: Told, capsys: pytest.CaptureFixture[str], flag: str, value: str
) -> None:
    """Times that do not exist in UTC, and bytes that are no text, are errors of usage."""
    with pytest.raises(SystemExit, match="2"):
        told("revoke", "--issuer", ISSUER, flag, value)
    assert f"argument {flag}: {value!r} is n" in capsys.readouterr().err
    assert listed(told) == []


def test_times_of_others(told: Told, tmp_path: Path, server: RedisServer) -> None:
    """An entry that another wrote, with a time that does not exist in UTC, is listed nevertheless.

    It hides no other entry.
    """
    line = f'{{"issuer":"{ISSUER}","before":"0001-01-01T00:00:00+14:00"}}'
    with server.admin() as client:
        client.hset(f"{{authz:{tmp_path.name}}}:revocations", read_entry(line.encode()).id, line)
    told("revoke", "--agent", TRAVEL)
    status, out, _ = told("revocations")
    assert (status, "0001-01-01T00:00:00+14:00" in out, TRAVEL in out) == (0, True, True)


def test_what_a_terminal_would_interpret(told: Told) -> None:
    """Control characters, and those that turn text around, are shown as escapes."""
    _, out, _ = told("revoke", "--agent", TRAVEL, "--note", "\x85\u202eevil\x7f", "--by", "a\x9b")
    assert "\\x85\\u202eevil\\x7f" in out
    assert all(line.isprintable() for line in out.splitlines())
    assert listed(told)[0]["note"] == "\x85\u202eevil\x7f"


def test_an_address_written_otherwise(told: Told) -> None:
    """An entry on an address is found, and taken back, however the address is written."""
    told("revoke", "--issuer", ISSUER, "--email", "Alice@Corp.Example")
    other = "--issuer", ISSUER, "--email", "alice@corp.example"
    assert len(listed(told, *other)) == 1
    assert len(json.loads(told("revocations", "--history", "--json", *other)[1])["changes"]) == 1
    assert told("revocations", *other, "--take-back")[0] == 0
    assert listed(told) == []


def test_a_long_note_on_taking_back(told: Told) -> None:
    """The history keeps each note, so that it is bounded like an entry."""
    told("revoke", "--agent", TRAVEL)
    flags = "--agent", TRAVEL, "--take-back"
    status, out, err = told("revocations", *flags, "--note", "x" * 20_000)
    assert (status, out, "at most" in err) == (2, "", True)
    assert len(listed(told)) == 1


def test_interrupted(both: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who interrupts a command that waits for the store is told what is in force already."""

    def wait(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(sources.StoreSource, "add", wait)
        status, out, err = both("revoke", "--agent", TRAVEL)
    assert (status, out.startswith("revoked; ")) == (1, True)
    assert "NOT CERTAINLY REVOKED on every server of namespace" in err
    assert both("revoke", "--agent", TRAVEL, "--source", "store")[0] == 0
    with monkeypatch.context() as patched:
        patched.setattr(sources.FileSource, "take_back", wait)
        flags = [each for entry in listed(both) for each in ("--id", entry["id"])]
        status, out, err = both("revocations", *flags, "--take-back")
    assert (status, out.startswith("taken back: ")) == (1, True)
    assert "not certainly taken back on every server that reads" in err


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    """A server that a test may kill."""
    with RedisServer() as server:
        yield server


def test_a_store_that_is_away(
    tmp_path: Path, own_server: RedisServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is written and what is not is told, with what to do; nothing uncertain is taken back."""
    config = configure(tmp_path, own_server.url)
    path = with_file(config)
    told = teller(config, capsys)
    own_server.kill()
    status, out, err = told("revoke", "--agent", TRAVEL)
    assert status == 1
    assert f"on every server that reads {path}" in out
    assert f"NOT CERTAINLY REVOKED on every server of namespace {tmp_path.name}" in err
    assert "run the same command with --source store" in err
    status, out, _ = told("revoke", "--agent", PAYMENTS, "--json")
    places = [(one["source"], one["is_written"]) for one in json.loads(out)["sources"]]
    assert (status, places) == (1, [("file", True), ("store", False)])

    status, out, err = told("revocations", "--json")
    found = json.loads(out)
    assert (status, len(found["entries"])) == (1, 2)
    assert [bool(one["error"]) for one in found["sources"]] == [False, True]
    assert "the store can't be read" in err
    status, out, err = told("revocations", "--history")
    assert (status, out.splitlines()[-1]) == (1, f"2 changes in {path}")
    before = path.read_bytes()
    status, out, err = told("revocations", "--agent", TRAVEL, "--take-back")
    assert (status, out, path.read_bytes()) == (1, "", before)
    assert "--source file takes it back there alone" in err
    assert told("revocations", "--agent", TRAVEL, "--take-back", "--source", "file")[0] == 0

    path.unlink()
    status, out, err = told("revoke", "--agent", TRAVEL)
    assert (status, out) == (1, "")
    assert err.startswith("authz: not revoked: ")
    own_server.start()
    assert told("revoke", "--agent", TRAVEL, "--source", "store")[0] == 0
    assert [entry["agent"] for entry in listed(told, "--source", "store")] == [TRAVEL]


def test_a_store_user_who_may_not_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A store that refuses to take an entry back leaves the file's entry in force too."""
    with RedisServer("user reader on >secret ~* &* +@all -@write") as server:
        config = configure(tmp_path, server.url)
        path = with_file(config)
        told = teller(config, capsys)
        told("revoke", "--agent", TRAVEL)
        before = path.read_bytes()
        (tmp_path / "password").write_text("secret")
        user = {"user": "reader", "password_file": str(tmp_path / "password")}
        configure(tmp_path, server.url, **user)
        with_file(config)
        status, out, err = told("revocations", "--agent", TRAVEL, "--take-back")
        assert (status, out, path.read_bytes()) == (1, "", before)
        assert "not certainly taken back on every server of namespace" in err
        assert "secret" not in err
        status, _, err = told("revoke", "--agent", PAYMENTS)
        assert (status, "NOT CERTAINLY REVOKED" in err) == (1, True)


def test_a_file_that_fails_later(both: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the disk fails when the store has taken an entry back, the answer says where it counts."""
    both("revoke", "--agent", TRAVEL)

    def fail(*_: object) -> None:
        raise RevocationError("revoked: Input/output error")

    monkeypatch.setattr(EntryFile, "take_back", fail)
    status, out, err = both("revocations", "--agent", TRAVEL, "--take-back")
    assert status == 1
    assert out.startswith("taken back: ")
    assert "still revoked by: " in out
    assert "not certainly taken back on every server that reads" in err
    monkeypatch.undo()
    assert both("revocations", "--agent", TRAVEL, "--take-back")[0] == 0
    assert listed(both) == []


def test_an_invalid_file_beside_a_store(both: Told, tmp_path: Path) -> None:
    """An invalid line keeps the file's entries from being changed, and the store's are."""
    both("revoke", "--agent", TRAVEL)
    with (tmp_path / "revoked").open("a") as file:
        file.write("{}\n")
    status, _, err = both("revoke", "--agent", PAYMENTS)
    assert (status, "run the same command with --source file" in err) == (1, True)
    status, out, err = both("revocations", "--agent", TRAVEL, "--take-back")
    assert (status, out) == (1, "")
    assert "servers do not load a file with an invalid line" in err
    assert len(listed(both)) == 2


def test_an_invalid_entry_of_the_store(told: Told, tmp_path: Path, server: RedisServer) -> None:
    """It is told with its id, and removed by it, as servers would leave it out for good."""
    told("revoke", "--agent", TRAVEL)
    with server.admin() as client:
        [key] = client.keys(f"*{tmp_path.name}*:revocations")
        client.hset(key, "strange", '{"agnet": "a"}')
    status, out, err = told("revocations", "--json")
    assert status == 1
    [bad] = json.loads(out)["invalid"]
    assert (bad["source"], bad["id"], bad["line"]) == ("store", "strange", None)
    assert "entry strange: Object contains unknown field" in err
    status, out, _ = told("revocations", "--id", "strange", "--take-back")
    assert (status, out.splitlines()[0]) == (0, "removed the invalid entry strange")
    assert told("revocations")[0] == 0
    assert len(listed(told)) == 1


def test_an_id_that_a_terminal_would_obey(told: Told, tmp_path: Path, server: RedisServer) -> None:
    """Whoever can write to the store names entries: their names are printed as all texts are."""
    odd, broken, other = "a\x1b[2J\u202e", "b\x9b2J", "c\x1b[2J"
    told("revoke", "--agent", TRAVEL)
    with server.admin() as client:
        [key] = client.keys(f"*{tmp_path.name}*:revocations")
        [line] = client.hvals(key)
        client.hset(key, mapping={odd: line, other: line, broken: "{"})
    for flags in ([], ["--agent", TRAVEL, "--take-back"]):
        _, out, err = told("revocations", *flags)
        assert all(line.isprintable() for line in (out + err).splitlines())
        assert "[2J" in (out if not flags else err)
    status, out, _ = told("revocations", "--id", odd, "--id", broken, "--take-back")
    assert status == 0
    assert all(line.isprintable() for line in out.splitlines())
    first, second, *_ = out.splitlines()
    assert first.startswith("taken back: a\\x1b[2J\\u202e: ")
    assert second == "removed the invalid entry b\\x9b2J"
    assert "still revoked by: c\\x1b[2J" in out


def test_what_servers_read(told: Told, tmp_path: Path, server: RedisServer) -> None:
    """The store has the entry as a line, under its id."""
    told("revoke", "--issuer", ISSUER, "--email", "a\u2028@corp.example", "--note", '"{')
    with server.admin() as client:
        [key] = client.keys(f"*{tmp_path.name}*:revocations")
        [(name, line)] = client.hgetall(key).items()
    assert read_entry(line).id == name.decode()
    assert read_entry(line).email == "a\u2028@corp.example"
