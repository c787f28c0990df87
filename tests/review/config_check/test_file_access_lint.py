"""Warnings of `authz check` about files that other users, or this user, can or can't use."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest

from authz.cli import main
from authz.config import load
from authz.review.config_check.address_lint import address_problems, socket_notes, socket_warnings
from authz.review.config_check.check import check_config
from authz.review.config_check.file_access_lint import access_warnings
from authz.review.config_check.file_checks import file_problems
from authz.review.config_check.written_files import written_problems, written_warnings
from lab.config_builder import LAB
from lab.issuer import Issuer
from lab.mesh import AUDIENCE, ISSUER
from support.verbs import edit, write_config

NOBODY: Final = 65534


@contextmanager
def as_nobody() -> Iterator[None]:
    """Do without the rights of root, if we have them."""
    own = os.geteuid()
    if own == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(own)


def config(folder: Path) -> Path:
    """A config with a secret and with revocations, whose files only we can use."""
    path = write_config(folder)
    for name, text in {"nonce": "n" * 32, "revoked": "", "more.yaml": "agents: []"}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
    path.chmod(0o600)
    changes = LAB.with_(("token",), {"dpop": {"nonce_secret": f"{folder}/nonce"}})
    changes = changes.with_(("include",), ["more.yaml"])
    edit(path, changes.with_(("revocations",), {"file": f"{folder}/revoked"}))
    return path


@pytest.fixture
def passable() -> Iterator[Path]:
    """A folder that others can pass through, as pytest's are not."""
    with TemporaryDirectory() as name:
        Path(name).chmod(0o711)
        yield Path(name)


@pytest.mark.parametrize(
    ("name", "mode", "words"),
    [
        ("nonce", 0o644, "token.dpop.nonce_secret: {}: any user of this machine can read it"),
        ("nonce", 0o602, "token.dpop.nonce_secret: {}: any user of this machine can write it"),
        ("revoked", 0o666, "revocations.file: {}: any user of this machine can write it"),
        ("more.yaml", 0o666, "include: {}: any user of this machine can write it"),
        ("authz.yaml", 0o666, "1: {}: any user of this machine can write it, and so decide what"),
    ],
)
def test_files_that_others_can_use(passable: Path, name: str, mode: int, words: str) -> None:
    """A secret that others can read, and a file that decides and that others can write."""
    path = config(passable)
    (passable / name).chmod(mode)

    (warning,) = check_config(path, datetime.now(UTC)).warnings
    assert words.format(passable / name) in str(warning)
    passable.chmod(0o700)
    assert check_config(path, datetime.now(UTC)).warnings == ()  # nobody else gets there now


def test_what_others_may_read(passable: Path) -> None:
    """A config, and revocations, are no secrets."""
    path = config(passable)
    (passable / "revoked").chmod(0o644)
    path.chmod(0o644)

    assert list(access_warnings(load(path), path)) == []


def test_places_that_we_cannot_write(tmp_path: Path) -> None:
    """Folders and files that this user can't write may be the server's: that is a warning."""
    path = write_config(tmp_path)
    listen = LAB.with_(("server", "listen"), "unix:/authz.sock")
    places = listen.with_(("audit", "path"), "/authz.log").with_(("key_cache",), {"folder": "/"})
    edit(path, places)
    loaded = load(path)
    with as_nobody():
        found = dict([*socket_warnings(loaded), *written_warnings(loaded)])

    said = "/ can't be written by this user; the server's has to"
    assert found == {
        ("server", "listen", 0): said,
        ("audit", "path"): said,
        ("key_cache", "folder"): said,
    }


def test_a_folder_that_we_cannot_see(tmp_path: Path) -> None:
    """What is in a folder that this user can't pass through is told as missing."""
    path = write_config(tmp_path)
    changes = LAB.with_(("audit", "path"), f"{tmp_path}/closed/in/audit.jsonl")
    edit(path, changes.with_(("server", "listen"), f"unix:{tmp_path}/closed/in/authz.sock"))
    (tmp_path / "closed" / "in").mkdir(parents=True)
    (tmp_path / "closed").chmod(0)
    loaded = load(path)
    with as_nobody():
        found = [
            *file_problems(loaded),
            *written_problems(loaded, [path]),
            *address_problems(loaded),
        ]
        notes = list(socket_notes(loaded))
    (tmp_path / "closed").chmod(0o700)

    assert found == [(("audit", "path"), f"there is no folder {tmp_path}/closed/in")]
    assert [place for place, _ in notes] == [("server", "listen", 0)]


def test_a_candidate_that_is_the_config(tmp_path: Path) -> None:
    """A config that is tried beside itself shows no difference."""
    path = write_config(tmp_path)
    edit(path, LAB.with_(("candidate",), str(path)))

    (warning,) = check_config(path, datetime.now(UTC)).warnings
    assert "candidate: it is this config itself" in str(warning)


def test_records_in_a_file_of_ours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Records are never added to a file that the config reads."""
    path = config(tmp_path)
    edit(path, LAB.with_(("audit", "path"), f"{tmp_path}/revoked"))

    assert main(["check", str(path)]) == 1
    assert "revoked is also revocations.file: records would be" in capsys.readouterr().err


def test_entries_in_a_file_of_something_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Consents are not added to the revocations, which servers would then not load any more."""
    path = config(tmp_path)
    edit(path, LAB.with_section("consents", f"{{file: '{tmp_path}/revoked'}}"))
    assert main(["check", str(path)]) == 1
    told = capsys.readouterr().err
    assert "consents.file: " in told
    assert "revoked is also revocations.file: `authz consent` would add lines" in told

    path = config(tmp_path)
    edit(path, LAB.with_(("revocations", "file"), str(path)))
    assert main(["check", str(path)]) == 1
    assert "is also a file of this config: `authz revoke` would" in capsys.readouterr().err


def of_audit(folder: Path, name: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What a check refuses of a config whose audit log is a path in its folder."""
    path = config(folder)
    edit(path, LAB.with_(("audit", "path"), f"{folder}/{name}"))
    assert main(["check", str(path)]) == 1
    return capsys.readouterr().err


def test_records_in_the_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nor are they to the config itself, also by another name."""
    (tmp_path / "link.yaml").symlink_to("authz.yaml")
    for name in ("authz.yaml", "link.yaml"):
        told = of_audit(tmp_path, name, capsys)
        assert "audit.path" in told
        assert f"{name} is also a file of this config: records would be" in told


def test_a_log_where_the_server_listens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The log is opened first, and then nothing can listen on its path."""
    assert "authz.sock is also server.listen[0]" in of_audit(tmp_path, "authz.sock", capsys)


def test_a_broken_link_in_the_place_of_a_socket(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing can listen where a link leads nowhere, though nothing seems to be there."""
    path = config(tmp_path)
    (tmp_path / "authz.sock").symlink_to("missing")

    assert main(["check", str(path)]) == 1
    assert "authz.sock: a link that leads nowhere is there" in capsys.readouterr().err


def test_a_log_that_is_a_broken_link(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A link to itself, or into a folder that is missing, can't be opened to write."""
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "lost").symlink_to("missing/audit.jsonl")
    assert "loop is a link that leads to itself" in of_audit(tmp_path, "loop", capsys)
    assert "lost is a link into a folder that is not there" in of_audit(tmp_path, "lost", capsys)


def test_what_may_be_there_later(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that a service makes when it starts is noted, and fails nothing."""
    path = write_config(tmp_path)
    edit(path, LAB.with_(("server", "listen"), f"unix:{tmp_path}/run/authz.sock"))

    assert main(["check", "--strict", str(path)]) == 0
    (note,) = capsys.readouterr().err.splitlines()
    assert note.startswith(f"note: {path}:")
    assert f"there is no folder {tmp_path}/run here; it has to be there when" in note
    (tmp_path / "run").mkdir()
    assert list(socket_notes(load(path))) == []


def test_what_was_not_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says which parts only the network could tell, and nothing if there are none."""
    path = write_config(tmp_path)
    assert main(["check", str(path)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[1:] == ["not looked at: issuers' keys (authz keys fetches them)"]

    edit(path, LAB.with_(("server", "listen"), "127.0.0.1:9191"))
    edit(path, LAB.with_(("issuers", 0, "keys"), {"file": str(tmp_path / "jwks")}))
    (tmp_path / "jwks").write_bytes(Issuer(ISSUER, AUDIENCE).jwks())
    assert main(["check", str(path)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[1:] == ["not looked at: whether ports are free"]
