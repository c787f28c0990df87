"""``authz consent`` and ``authz consents``: in the file of consents, and in the store."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from authz.adapters.consents import ConsentSettings
from authz.adapters.consents.sources import ConsentSources
from authz.cli import entry_sources
from authz.cli.consenting.sources import KIND
from authz.core.consents import READER
from authz.core.reason import Denied
from authz.core.sts.consent import ConsentAsked
from lab.config_builder import LAB
from lab.mesh import ISSUER, TRAVEL
from support.redis_server import RedisServer
from support.stores import opened_store
from support.verbs import edit, run, write_config
from support.world import PATIENCE_SECONDS

Told = Callable[..., tuple[int, str, str]]
ALICE = ("--issuer", ISSUER, "--subject", "alice", "--agent", TRAVEL)
CALL = {"type": "https://corp.example/authz/call", "arguments": {"amount": 620}}


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """A store's server, which each test uses in a namespace of its own."""
    with RedisServer() as server:
        yield server


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for a store that is away."""
    monkeypatch.setattr(entry_sources, "PATIENCE_SECONDS", 0.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of consents, empty."""
    path = tmp_path / "consents.jsonl"
    path.touch()
    return path


def teller(config: Path, capsys: pytest.CaptureFixture[str]) -> Told:
    """Return what runs a verb on a config: it returns status, output and complaints."""

    def tell(verb: str, *flags: str) -> tuple[int, str, str]:
        status = run(verb, str(config), *flags)
        said = capsys.readouterr()
        return status, said.out, said.err

    return tell


@pytest.fixture
def told(tmp_path: Path, path: Path, capsys: pytest.CaptureFixture[str]) -> Told:
    """Run a verb on a config with a file and no store."""
    config = write_config(tmp_path)
    edit(config, LAB.with_section("consents", f"{{file: '{path}'}}"))
    return teller(config, capsys)


@pytest.fixture
def both(
    tmp_path: Path, path: Path, server: RedisServer, capsys: pytest.CaptureFixture[str]
) -> Told:
    """Run a verb on a config with a file and a store."""
    config = write_config(tmp_path)
    store = {"url": server.url, "insecure": True, "namespace": tmp_path.name.replace("[", "-")}
    edit(
        config,
        LAB.with_(("store",), store).and_(LAB.with_section("consents", f"{{file: '{path}'}}")),
    )
    return teller(config, capsys)


def listed(told: Told, *flags: str) -> list[dict[str, Any]]:
    """The consents as --json lists them."""
    status, out, _ = told("consents", "--json", *flags)
    assert status == 0
    consents: list[dict[str, Any]] = json.loads(out)["consents"]
    return consents


def find(sources: ConsentSources, **asked: Any) -> str:
    """What the token service would do: the id of the consent, or the refusal's code."""
    whole = {"issuer": ISSUER, "subject": "alice", "agent": TRAVEL, "audiences": ("a",)}
    sources.catch_up(PATIENCE_SECONDS)
    try:
        return sources.require(ConsentAsked(**{**whole, "scopes": frozenset(), **asked}), 0.0).id
    except Denied as denied:
        return denied.reason.code


def test_given_listed_and_taken_back(told: Told, path: Path) -> None:
    """A consent counts once the command has ended, until it is taken back."""
    sources = ConsentSources(ConsentSettings(file=str(path)))
    flags = ("--scope", "trips:book", "--for", "30d", "--by", "ann", "--note", "on the phone")
    status, out, err = told("consent", *ALICE, *flags)
    assert (status, err) == (0, "")
    entry = READER.read(path.read_bytes())
    assert out.startswith("given: {")
    assert f"--id {entry.id} --take-back" in out
    assert (entry.by, entry.note, entry.scopes) == ("ann", "on the phone", ("trips:book",))
    assert find(sources, scopes=frozenset({"trips:book"})) == entry.id
    assert find(sources, scopes=frozenset({"trips:book", "x"})) == "approval_required"
    assert [each["id"] for each in listed(told, "--subject", "alice")] == [entry.id]
    assert listed(told, "--subject", "bob") == []
    status, out, _ = told("consents")
    assert (status, entry.id in out, "1 consent in " in out) == (0, True, True)

    status, out, _ = told("consents", "--id", entry.id, "--take-back", "--note", "she called")
    assert status == 0
    assert out.startswith(f"taken back: {entry.id}: ")
    assert path.read_bytes() == b""
    assert find(sources) == "approval_required"
    status, out, _ = told("consents", "--history", "--json")
    changes = json.loads(out)["changes"]
    assert [(change["is_added"], change["id"]) for change in changes] == [
        (False, entry.id),
        (True, entry.id),
    ]
    assert changes[0]["note"] == "she called"
    assert "given" in told("consents", "--history")[1]


def test_a_call_once(told: Told, path: Path) -> None:
    """A consent to one call is given as the challenge of the call has it, and listed so."""
    flags = ("--details", json.dumps(CALL), "--audience", "a", "--until", "1h")
    assert told("consent", *ALICE, *flags)[0] == 0
    sources = ConsentSources(ConsentSettings(file=str(path)))
    entry = READER.read(path.read_bytes())
    assert (entry.detail, entry.once, entry.audiences) == (CALL, True, ("a",))
    assert find(sources, details=(CALL,)) == entry.id
    assert find(sources) == "approval_required"
    assert '"amount":620' in told("consents")[1]
    assert told("consent", *ALICE, *flags, "--many-tokens")[0] == 0
    assert READER.read(path.read_bytes().splitlines()[-1]).once is None
    with pytest.raises(SystemExit):
        told("consent", *ALICE, *flags, "--many-tokens", "--once")


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (("--agent", "travel"), "did you mean"),
        (("--agent", f"{TRAVEL}x"), "no entry of agents fits"),
        (("--issuer", "https://other.example"), "no issuer"),
        (("--details", '{"amount": 1}', "--audience", "a"), "must have a type"),
        (("--details", json.dumps(CALL)), "requires audiences"),
        (("--details", json.dumps(CALL), "--audience", "a", "--for", "400d"), "366 days"),
        (("--scope", "a b"), "each is a word"),
        (("--source", "store"), "does not set store"),
    ],
)
def test_what_is_not_given(told: Told, path: Path, flags: tuple[str, ...], why: str) -> None:
    """A consent that nobody can mean is not written, and the complaint says what is wrong."""
    status, out, err = told("consent", *ALICE, "--for", "1h", *flags)
    assert (status, out, path.read_bytes()) == (2, "", b"")
    assert why in err


def test_force_and_an_end(told: Told, path: Path) -> None:
    """An agent of a config to come may be named; a consent without an end may not be given."""
    flags = (*ALICE[:4], "--agent", f"{TRAVEL}x", "--force")
    with pytest.raises(SystemExit):
        told("consent", *flags)
    with pytest.raises(SystemExit):
        told("consent", *flags, "--until", "2020-01-01T00:00:00Z")
    assert path.read_bytes() == b""
    assert told("consent", *flags, "--for", "1h")[0] == 0


def test_a_broken_file_holds_up_nothing(told: Told, path: Path) -> None:
    """Consents can be given and taken back beside broken lines, which stay and are told."""
    path.write_bytes(b'{"issuer": \n')
    assert told("consent", *ALICE, "--for", "1h")[0] == 0
    status, out, err = told("consents", "--json")
    assert status == 1
    assert [bad["line"] for bad in json.loads(out)["invalid"]] == [1]
    assert "an invalid line is no consent" in err
    assert told("consents", "--subject", "alice", "--issuer", ISSUER, "--take-back")[0] == 0
    assert path.read_bytes() == b'{"issuer": \n'


def test_take_back_says_which(told: Told) -> None:
    """Without a flag nothing is taken back, and with one that nothing has neither."""
    assert told("consents", "--take-back")[0] == 2
    assert told("consents", "--take-back", "--subject", "bob")[0] == 2
    assert told("consents", "--take-back", "--history")[0] == 2


def test_a_file_that_would_be_too_large(
    told: Told, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What servers would not read is not given: then no consent of the file would count."""
    monkeypatch.setattr("authz.cli.consenting.sources.KIND", replace(KIND, max_bytes=300))
    assert told("consent", *ALICE, "--for", "1h")[0] == 0
    before = path.read_bytes()
    status, _, err = told("consent", *ALICE, "--for", "2h")
    assert (status, path.read_bytes()) == (1, before)
    assert "not certainly given: " in err
    assert "larger than 300 bytes" in err


def test_an_id_that_nothing_has(told: Told, path: Path) -> None:
    """It is told, and its status is not that of success; what the other ids name is taken back."""
    assert told("consent", *ALICE, "--for", "1h")[0] == 0
    entry = READER.read(path.read_bytes())
    status, out, err = told("consents", "--id", entry.id, "--id", "f00", "--take-back")
    assert (status, path.read_bytes()) == (2, b"")
    assert f"taken back: {entry.id}" in out
    assert "nothing was taken back for f00" in err


@pytest.mark.parametrize(
    "details", ['{"type": "\\ud800"}', '{"type": "x", "a": NaN}', '{"a":' * 5000 + "1" + "}" * 5000]
)
def test_details_that_readers_differ_on(told: Told, path: Path, details: str) -> None:
    """Half a character, no number, a depth that nobody reads: a usage error, and no consent."""
    with pytest.raises(SystemExit) as ended:
        told("consent", *ALICE, "--for", "1h", "--audience", "a", "--details", details)
    assert (ended.value.code, path.read_bytes()) == (2, b"")


def test_what_has_ended_is_swept(told: Told, path: Path) -> None:
    """A consent that has ended leaves the file when another is given."""
    old = {"issuer": "i", "subject": "s", "agent": TRAVEL, "until": "2020-01-01T00:00:00Z"}
    path.write_text(json.dumps(old) + "\n")
    assert told("consents")[1].count("(ended: it does not count)") == 1
    assert told("consent", *ALICE, "--for", "1h")[0] == 0
    assert [each["subject"] for each in listed(told)] == ["alice"]


def test_the_store_comes_first(both: Told, path: Path, tmp_path: Path, server: RedisServer) -> None:
    """With a store, a consent is written there alone, and taken back wherever it is."""
    assert both("consent", *ALICE, "--for", "1h")[0] == 0
    assert path.read_bytes() == b""
    assert both("consent", *ALICE, "--for", "2h", "--source", "file")[0] == 0
    assert [each["sources"] for each in listed(both)] == [["file"], ["store"]]
    with opened_store(tmp_path.name.replace("[", "-"), url=server.url) as store:
        sources = ConsentSources(ConsentSettings(file=str(path)), store)
        assert find(sources) not in ("approval_required", "store_unavailable")
        store.consents.add({"broken": b"{"}, "x", PATIENCE_SECONDS)
        assert both("consents")[0] == 1
        assert both("consents", "--id", "broken", "--take-back")[0] == 0
        assert both("consents", "--agent", TRAVEL, "--take-back")[0] == 0
        assert find(sources) == "approval_required"
    assert listed(both) == []
    assert len(json.loads(both("consents", "--history", "--json")[1])["changes"]) == 6
    assert json.loads(both("revocations", "--json", "--source", "store")[1])["entries"] == []


def test_an_id_that_a_terminal_would_obey(both: Told, tmp_path: Path, server: RedisServer) -> None:
    """Whoever can write to the store names entries: their names are printed as all texts are."""
    odd, broken = "a\x1b[2J\u202e", "b\x9b2J"
    line = {"issuer": ISSUER, "subject": "alice", "agent": TRAVEL, "until": "2999-01-01T00:00:00Z"}
    with opened_store(tmp_path.name.replace("[", "-"), url=server.url) as store:
        entries = {odd: json.dumps(line).encode(), broken: b"{"}
        store.consents.add(entries, "x", PATIENCE_SECONDS)
    named = both("consents"), both("consents", "--id", odd, "--id", broken, "--take-back")
    for status, out, err in (*named, both("consents", "--history")):
        assert "a\\x1b[2J\\u202e" in out
        assert all(line.isprintable() for line in (out + err).splitlines())
        assert status in (0, 1)
    assert "removed the invalid entry b\\x9b2J" in named[1][1]
    assert listed(both) == []


def test_a_store_that_is_away(
    tmp_path: Path, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is given, and what is in the file can be taken back all the same; both are told."""
    config = write_config(tmp_path)
    with RedisServer() as gone:
        store = {"url": gone.url, "insecure": True}
    file = LAB.with_section("consents", f"{{file: '{path}'}}")
    edit(config, LAB.with_(("store",), store).and_(file))
    told = teller(config, capsys)
    status, out, err = told("consent", *ALICE, "--for", "1h")
    assert (status, out, path.read_bytes()) == (1, "", b"")
    assert "not certainly given" in err
    assert told("consent", *ALICE, "--for", "1h", "--source", "file")[0] == 0
    status, _, err = told("consents", "--subject", "alice", "--take-back")
    assert (status, path.read_bytes()) == (1, b"")
    assert "NOT CERTAINLY TAKEN BACK from the store" in err
