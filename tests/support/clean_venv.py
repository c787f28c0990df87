"""What a stranger's machine has: packages held to the lock's hashes, and virtual environments."""

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
KEPT: Final = ROOT / ".venv-packages"
LOCKS: Final = ("requirements/runtime-extras.txt", "requirements/build.txt")
_DOWNLOAD: Final = (
    *(sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-deps"),
    *("--require-hashes", "--only-binary", ":all:"),
    *(word for lock in LOCKS for word in ("-r", lock)),
)


def run(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], status: int = 0
) -> str:
    """Run a command that must end with a status, and return its standard output and error."""
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == status, (command, done)
    return done.stdout + done.stderr


def fetch_packages() -> Path:
    """Return a folder with the locked packages; they are fetched once, with pip.

    It is kept in ``.venv-packages`` of the checkout, which ``make clean`` removes. Whoever installs
    from it holds it to the hashes again.
    """
    text = b"".join((ROOT / lock).read_bytes() for lock in LOCKS)
    pool = KEPT / hashlib.sha256(text).hexdigest()[:16]
    if not pool.exists():
        KEPT.mkdir(exist_ok=True)
        # Renamed when it is whole: another run of the tests may be fetching too.
        with tempfile.TemporaryDirectory(dir=KEPT) as folder:
            fetched = Path(folder, "pool")
            run([*_DOWNLOAD, "--dest", str(fetched)], ROOT, os.environ)
            with suppress(OSError):  # the other run was faster
                fetched.rename(pool)
    return pool


def make_venv(folder: Path) -> Path:
    """Make an environment with nothing but this process's pip, and return its programs."""
    run([sys.executable, "-m", "venv", "--without-pip", str(folder)], ROOT, os.environ)
    pip = folder / "bin" / "pip"  # a pip of its own takes seconds to install
    pip.write_text(f'#!/bin/sh\nexec {sys.executable} -m pip --python {folder}/bin/python "$@"\n')
    pip.chmod(0o755)
    return folder / "bin"


def clean_environment(folder: Path, pool: Path, *programs: Path) -> dict[str, str]:
    """Return an environment that has nothing of this process: programs, and pip with a pool."""
    return {
        "HOME": str(folder),
        "PATH": ":".join([*map(str, programs), "/usr/bin", "/bin"]),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_FIND_LINKS": str(pool),
        "PIP_NO_COMPILE": "1",
        "PIP_NO_INDEX": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
