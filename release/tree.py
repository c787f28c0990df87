"""The tree of the commit that is released: what git holds, and nothing that lies beside it."""

import io
import subprocess
import tarfile
import tomllib
from pathlib import Path


class ReleaseError(Exception):
    """What stops a release, in words for the maintainer."""


def git(*arguments: str) -> bytes:
    """Return the output of a git command. Raises ReleaseError when it fails."""
    done = subprocess.run(["git", *arguments], capture_output=True, check=False)
    if done.returncode:
        raise ReleaseError(f"git {arguments[0]}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def text_of(*arguments: str) -> str:
    """Return the output of a git command as text. Raises ReleaseError when it fails."""
    return git(*arguments).decode().strip()


def require_clean() -> None:
    """Raise ReleaseError, with the names, if files differ from the commit or are unknown to it."""
    if changed := text_of("status", "--porcelain"):
        raise ReleaseError(f"commit or remove these first:\n{changed}")


def require_new(version: str) -> None:
    """Raise ReleaseError if another commit has the version's tag: a release is never replaced."""
    tag = f"v{version}"
    if text_of("tag", "--list", tag) and text_of("rev-parse", f"{tag}^{{commit}}") != head():
        raise ReleaseError(f"{tag} is another commit: raise project.version in pyproject.toml")


def head() -> str:
    """Return the commit's full name. Raises ReleaseError outside a repository."""
    return text_of("rev-parse", "HEAD")


def commit_seconds() -> int:
    """Return the commit's time in Unix seconds: the SOURCE_DATE_EPOCH of what is built."""
    return int(text_of("log", "-1", "--format=%ct"))


def write_tree(folder: Path) -> None:
    """Write the commit's files into a folder. Raises ReleaseError outside a repository."""
    with tarfile.open(fileobj=io.BytesIO(git("archive", "--format=tar", "HEAD"))) as archive:
        archive.extractall(folder, filter="data")


def version_of(tree: Path) -> str:
    """Return the version that a tree's pyproject.toml names."""
    version: str = tomllib.loads((tree / "pyproject.toml").read_text())["project"]["version"]
    return version
