"""Finds the programs of the mesh that ``make mesh-tools`` built, and says which one is missing."""

import os
import shutil
from pathlib import Path
from typing import Final

BUILT: Final = Path(__file__).parents[3] / ".venv-mesh" / "bin"


class ToolMissingError(RuntimeError):
    """A program is not to be had; the message says how to get it."""


def find_tool(name: str) -> Path | None:
    """Return the program of this name: as built, else of PATH, else None."""
    built = BUILT / name
    found = str(built) if built.exists() else shutil.which(name)
    return Path(found) if found else None


def tool(name: str) -> Path:
    """Return the program of this name. Raises ToolMissingError."""
    found = find_tool(name)
    if found is None:
        raise ToolMissingError(f"no {name}: run 'make mesh-tools'")
    return found


def missing_of(names: tuple[str, ...]) -> list[str]:
    """Return the names of which there is no program; ``root`` is the right to change groups."""
    return [name for name in names if not _there(name)]


def must_be_there(names: tuple[str, ...]) -> bool:
    """Tell whether ``AUTHZ_NEEDS_MESH`` lists all of them, so that a test may not be skipped."""
    return {*names} <= {*os.environ.get("AUTHZ_NEEDS_MESH", "").split()}


def _there(name: str) -> bool:
    return os.geteuid() == 0 if name == "root" else find_tool(name) is not None
