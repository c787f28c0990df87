"""The frame of these tests: what is missing is told by name."""

from pathlib import Path

import pytest

from mesh.support.tools import BUILT, ToolMissingError, missing_of, must_be_there, tool

ROOT = Path(__file__).parents[2]


def test_a_missing_program_is_named() -> None:
    """The message says which program is missing, and how to get it."""
    assert missing_of(("sh", "no-such-program")) == ["no-such-program"]
    with pytest.raises(ToolMissingError, match=r"no no-such-program: run 'make mesh-tools'"):
        tool("no-such-program")


def test_programs_are_required_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test fails without its programs only where all of them are listed."""
    monkeypatch.setenv("AUTHZ_NEEDS_MESH", "root spire-server")
    assert must_be_there(("spire-server", "root"))
    assert not must_be_there(("spire-server", "spire-agent"))


def test_programs_are_looked_for_where_they_are_built() -> None:
    """The folder is that of the Makefile."""
    assert str(BUILT.relative_to(ROOT)) in (ROOT / "Makefile").read_text()
