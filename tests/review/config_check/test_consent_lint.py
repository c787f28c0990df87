"""`authz check` on consents: rules that nothing can fulfil, and lines that are no consents."""

from pathlib import Path

import pytest

from authz.adapters.consents.file import MAX_FILE_BYTES
from lab.config_builder import LAB, ConfigBuilder
from support.redis_server import free_port
from support.sts_server import TokenServiceWorld
from support.verbs import edit, run, write_config

ASKS = LAB.with_(("sts", "rules", 0, "consent"), "required").and_(
    LAB.with_(("sts", "rules", 1, "authorization_details"), ["t"])
)
NOTHING = "nothing keeps consents, so it gives no token"


def checked(folder: Path, changes: ConfigBuilder, capsys: pytest.CaptureFixture[str]) -> str:
    """What `authz check` says of a token service."""
    with TokenServiceWorld(folder, changes) as world:
        run("check", str(world.config_path))
    said = capsys.readouterr()
    return said.out + said.err


def test_a_rule_that_nothing_can_fulfil(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With neither a file nor a store, a rule that asks for consent gives no token."""
    assert checked(tmp_path, LAB, capsys).count(NOTHING) == 0
    said = checked(tmp_path, ASKS, capsys)
    assert f"sts.rules[0].consent: {NOTHING}" in said
    assert f"sts.rules[1].authorization_details: {NOTHING}" in said
    (tmp_path / "consents").touch()
    file = LAB.with_section("consents", f"{{file: '{tmp_path}/consents'}}")
    assert NOTHING not in checked(tmp_path, ASKS.and_(file), capsys)
    store = LAB.with_(("store",), {"url": f"redis://127.0.0.1:{free_port()}", "insecure": True})
    assert NOTHING not in checked(tmp_path, ASKS.and_(store), capsys)


def test_lines_that_are_no_consents(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is told with its number, and a file that is missing with what to do."""
    path = tmp_path / "consents"
    file = LAB.with_section("consents", f"{{file: '{path}'}}")
    assert "begin with an empty file" in checked(tmp_path, file, capsys)
    path.write_bytes(b'\n{"issuer": "i"}\n')
    said = checked(tmp_path, file, capsys)
    assert f"line 2 of {path} is no consent: " in said
    path.write_bytes(b"{\n" * 30)
    assert "10 more lines" in checked(tmp_path, file, capsys)
    path.write_bytes(b" " * MAX_FILE_BYTES + b"\n")
    assert f"{path} has more than " in checked(tmp_path, file, capsys)


def test_consents_that_nobody_asks_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a token service the file has no effect."""
    (tmp_path / "consents").touch()
    file = LAB.with_section("consents", f"{{file: '{tmp_path}/consents'}}")
    config = write_config(tmp_path)
    edit(config, file)
    run("check", str(config))
    said = capsys.readouterr()
    assert "only the token service asks for consents" in said.out + said.err
