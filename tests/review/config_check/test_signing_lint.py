"""What `authz check` says of the keys that sign our own tokens, and of their address."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from authz.cli import main
from lab.config_builder import LAB, ConfigBuilder
from lab.mesh import ISSUER
from support.signing import pem
from support.verbs import edit, write_config


def told(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    changes: ConfigBuilder = LAB,
    **section: Any,
) -> str:
    """What a check of a config with this section prints about it."""
    path = write_config(folder)
    basic = {"issuer": "https://authz.corp.example", "insecure": True}
    edit(path, changes.with_(("assertions",), {**basic, **section}))
    main(["check", str(path)])
    lines = capsys.readouterr().err.replace(str(folder), "@").splitlines()
    return "\n".join(line for line in lines if "assertions" in line)


def key(folder: Path, name: str, data: bytes | None = None, mode: int = 0o600) -> str:
    """Write a key, and return its path."""
    path = folder / name
    path.write_bytes(pem() if data is None else data)
    path.chmod(mode)
    return str(path)


def from_now(**later: float) -> str:
    """Return a moment."""
    return (datetime.now(UTC) + timedelta(**later)).isoformat()


def test_good_keys_are_not_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Keys that change in time, and one that changed a while ago, are fine."""
    keys = [
        {"file": key(tmp_path, "a.pem")},
        {"file": key(tmp_path, "b.pem", pem(is_ed25519=True)), "signs_from": from_now(hours=-23)},
        {"file": key(tmp_path, "c.pem"), "signs_from": from_now(hours=2)},
    ]
    assert told(tmp_path, capsys, keys=keys) == ""


def test_moments_that_are_too_soon_or_long_past(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A key that signs within the hour may be unknown, and one that is over can go."""
    keys = [
        {"file": key(tmp_path, "a.pem")},
        {"file": key(tmp_path, "b.pem"), "signs_from": from_now(hours=-25)},
        {"file": key(tmp_path, "c.pem"), "signs_from": from_now(minutes=59)},
    ]
    found = told(tmp_path, capsys, keys=keys)
    assert "assertions.keys[2].signs_from: verifiers may not know the key by then" in found
    assert "assertions.keys[0]: the next key has signed for a day: take this one off" in found
    assert len(found.splitlines()) == 2


def test_a_made_key_is_for_trying(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A key that the server makes is warned of, and the check makes none."""
    found = told(tmp_path, capsys, make=f"{tmp_path}/made.pem")
    assert "assertions.make: a key that the server makes is for trying" in found
    assert not (tmp_path / "made.pem").exists()


def test_files_without_a_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each file that has no key of its own is told at its place."""
    same = pem()
    keys = [
        {"file": key(tmp_path, "a.pem", same)},
        {"file": key(tmp_path, "b.pem", b"hello"), "signs_from": "2190-01-01T00:00:00Z"},
        {"file": key(tmp_path, "c.pem", same), "signs_from": "2191-01-01T00:00:00Z"},
        {"file": f"{tmp_path}/none.pem", "signs_from": "2192-01-01T00:00:00Z"},
    ]
    found = told(tmp_path, capsys, keys=keys)
    assert "assertions.keys[1].file: @/b.pem holds no PEM, not a private key" in found
    assert "assertions.keys[2].file: @/c.pem holds the same key as @/a.pem" in found
    assert "assertions.keys[3].file: @/none.pem can't be read: No such file" in found


@pytest.fixture
def passable() -> Iterator[Path]:
    """A folder that others can pass through, as pytest's are not."""
    with TemporaryDirectory() as name:
        Path(name).chmod(0o711)
        yield Path(name)


def test_a_key_that_others_can_read(passable: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A signing key is as secret as other private keys: that others can read it is told."""
    keys = [{"file": key(passable, "a.pem", mode=0o644)}]
    assert "assertions.keys[0].file: @/a.pem: any user" in told(passable, capsys, keys=keys)
    made = key(passable, "made.pem", mode=0o644)
    assert "assertions.make: @/made.pem: any user" in told(passable, capsys, make=made)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({}, "one of keys and make is required"),
        ({"keys": [{"file": "a"}], "make": "b"}, "assertions.make: with keys, leave it out"),
        (
            {"keys": [{"file": "a"}, {"file": "b"}]},
            "assertions.keys[1]: say from when it signs, in signs_from",
        ),
        (
            {
                "keys": [
                    {"file": "a", "signs_from": "2190-01-02T00:00:00Z"},
                    {"file": "b", "signs_from": "2190-01-01T00:00:00Z"},
                ]
            },
            "assertions.keys[1].signs_from: must be later than that of the key before it",
        ),
        ({"keys": [{"file": "a", "signs_from": "tomorrow"}]}, "a moment is RFC 3339"),
        (
            {"keys": [{"file": "a"}, {"file": "a", "signs_from": "2190-01-01T00:00:00Z"}]},
            "assertions.keys: a file is listed twice",
        ),
        ({"keys": [{"file": "-----BEGIN PRIVATE KEY-----"}]}, "must be the path of a file"),
    ],
)
def test_sections_that_mean_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], section: dict[str, Any], words: str
) -> None:
    """What the list of keys can't mean is told at its place."""
    assert words in told(tmp_path, capsys, **section)


def test_the_address_of_the_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without TLS it is for this machine alone; no other part of the server has it."""
    keys = [{"file": key(tmp_path, "a.pem")}]
    found = told(tmp_path, capsys, keys=keys, listen="0.0.0.0:9194")
    assert "assertions.listen: anyone on the network path can give verifiers other keys" in found
    signals = {"listen": "127.0.0.1:9194", "insecure": True, "logout": []}
    signals["logout"] = [{"issuer": ISSUER, "client_ids": ["front-end"], "path": "/logouts"}]
    revoked = {"file": key(tmp_path, "revoked.jsonl", b"")}
    changes = LAB.with_(("revocations",), revoked).with_(("signals",), signals)
    found = told(tmp_path, capsys, changes, keys=keys)
    assert "127.0.0.1:9194: signals.listen already takes it" in found
    broken = {"certificate": key(tmp_path, "t.pem"), "private_key": key(tmp_path, "t.key")}
    found = told(tmp_path, capsys, keys=keys, insecure=False, tls=broken)
    assert "assertions.tls: certificate: @/t.pem holds a private key" in found
