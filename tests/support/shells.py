"""Runs scripts in real shells, with the command ``authz`` on their PATH.

Debian's zsh and fish are unpacked by ``.ci/run``, which says by AUTHZ_NEEDS_SHELLS that the tests
may not do without; elsewhere those that are installed are taken.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNPACKED = ROOT / ".venv-shells"


def run_script(shell: str, script: str, folder: Path) -> list[str]:
    """Run a script in a folder; return the lines that it prints. Skips the test without the shell.

    The command is this source's. The script must print nothing to standard error.
    """
    command = folder / "bin" / "authz"
    command.parent.mkdir(exist_ok=True)
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m authz "$@"\n')
    command.chmod(0o700)
    file = folder / f"script.{shell}"
    file.write_text(script)
    environment = {
        "PATH": f"{command.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(folder),
        "SHELL_ROOT": str(UNPACKED),
    }
    if UNPACKED.exists():
        libraries = {str(path.parent) for path in UNPACKED.glob("usr/lib/*/lib*.so*")}
        environment["LD_LIBRARY_PATH"] = ":".join(sorted(libraries))
    done = subprocess.run(
        [*_command(shell), str(file)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout.splitlines()


def _command(shell: str) -> list[str]:
    """Return the command of a shell that reads none of its user's files."""
    flags = {"bash": ["--norc", "--noprofile"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    for path in (UNPACKED / "bin" / shell, UNPACKED / "usr/bin" / shell):
        if path.exists():
            return [str(path), *flags]
    if found := shutil.which(shell):
        return [found, *flags]
    message = f"no {shell}: install Debian's package, or see .ci/run"
    if os.environ.get("AUTHZ_NEEDS_SHELLS"):
        pytest.fail(message)
    pytest.skip(message)
