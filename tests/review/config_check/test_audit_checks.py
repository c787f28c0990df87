"""What `authz check` says of the audit log's sinks, chain and witnesses."""

from pathlib import Path
from typing import Any

import pytest

from authz.cli import main
from lab.config_builder import LAB
from support.audit_chain import key_in
from support.verbs import edit, write_config


def told(folder: Path, audit: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> str:
    """What a check of a config with this audit section prints about it."""
    path = write_config(folder)
    edit(path, LAB.with_(("audit",), audit))
    main(["check", str(path)])
    lines = capsys.readouterr().err.replace(str(folder), "@").splitlines()
    return "\n".join(line for line in lines if "audit." in line)


def test_files_of_all_sinks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each file that the log writes needs a folder, and is no file of another use."""
    sinks = [
        {"name": "a", "path": f"{tmp_path}/none/a"},
        {"name": "b", "path": f"{tmp_path}/b"},
        {"name": "c", "path": f"{tmp_path}/b"},
        {"name": "d", "path": f"{tmp_path}/authz.yaml"},
    ]
    found = told(tmp_path, {"sinks": sinks}, capsys)

    assert "audit.sinks[0].path: there is no folder @/none" in found
    assert "audit.sinks[2].path: @/b is also audit.sinks[1].path: give each" in found
    assert "audit.sinks[3].path: @/authz.yaml is also a file of this config" in found
    assert "sinks[1].path:" not in found.replace("is also audit.sinks[1].path:", "")


def test_spools(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each spool has a folder of its own."""
    (tmp_path / "file").touch()
    http = {"http": {"url": "https://siem.corp.example/"}}
    sinks = [
        {"name": "a", **http, "spool": {"folder": f"{tmp_path}/spool"}},
        {"name": "b", **http, "spool": {"folder": f"{tmp_path}/spool"}},
        {"name": "c", **http, "spool": {"folder": f"{tmp_path}/file"}},
    ]
    found = told(tmp_path, {"sinks": sinks}, capsys)

    assert "audit.sinks[1].spool.folder: @/spool is also audit.sinks[0].spool.folder" in found
    assert "audit.sinks[2].spool.folder: @/file is not a folder" in found


def test_a_witness_has_a_file_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Checkpoints are not added to the log that they are to prove."""
    chain = {"key": str(key_in(tmp_path)), "witnesses": [{"file": f"{tmp_path}/a"}]}
    found = told(tmp_path, {"path": f"{tmp_path}/a", "chain": chain}, capsys)

    assert "audit.chain.witnesses[0].file: @/a is also audit.path: give each" in found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no key", "audit.chain.key: not a private key in PEM"),
        (None, "audit.chain.key: @/key.pem can't be read: No such file or directory;"),
        (None, "; authz audit key makes it"),
    ],
)
def test_a_key_that_signs_nothing(
    tmp_path: Path, text: str | None, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The key is read as a start reads it."""
    if text is not None:
        (tmp_path / "key.pem").write_text(text)
    chain = {"key": f"{tmp_path}/key.pem"}

    assert message in told(tmp_path, {"path": f"{tmp_path}/a", "chain": chain}, capsys)


def test_a_chain_without_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A log that no start can close after a crash is warned of."""
    chain = {"key": str(key_in(tmp_path))}

    assert "only a file can be given the end" in told(tmp_path, {"chain": chain}, capsys)
    assert not told(tmp_path, {"path": f"{tmp_path}/a", "chain": chain}, capsys)
