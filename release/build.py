"""Wheel and sdist of a tree, built twice under different circumstances: the bytes must be equal."""

import filecmp
import hashlib
import os
import subprocess
import sys
from pathlib import Path

from release.tree import ReleaseError


def build(tree: Path, target: Path, seconds: int, *, umask: int, zone: str) -> None:
    """Build a tree's sdist, and from that its wheel, with the locked build tools of this Python.

    ``seconds`` is the time, in Unix seconds, that the files of both get. Raises ReleaseError.
    """
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(target), str(tree)],
        env=os.environ | {"SOURCE_DATE_EPOCH": str(seconds), "TZ": zone},
        umask=umask,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ReleaseError(f"the build failed:\n{done.stdout}{done.stderr}")


def require_equal(first: Path, second: Path) -> None:
    """Raise ReleaseError unless two folders hold the same files with the same bytes."""
    names = sorted({path.name for folder in (first, second) for path in folder.iterdir()})
    _, different, missing = filecmp.cmpfiles(first, second, names, shallow=False)
    if different or missing:
        raise ReleaseError(f"not reproducible: {', '.join(different + missing)}")


def digest_of(path: Path) -> str:
    """Return a file's SHA-256, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_digests(folder: Path) -> None:
    """Write SHA256SUMS of a folder's files, for ``sha256sum --check``."""
    lines = [f"{digest_of(path)}  {path.name}\n" for path in sorted(folder.iterdir())]
    (folder / "SHA256SUMS").write_text("".join(lines))
