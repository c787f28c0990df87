"""Runs commands as a page shows them, in what looks like a fresh clone, with ports of their own.

The commands have fixed ports. Where the system gives us a network of our own, nobody else has them;
elsewhere the tests that need them wait for each other.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Final

from lab.envoy import ROOT, envoy_binary

SECONDS: Final = 200.0  # below the limit of a test, so that it ends with what was said
_INPUTS: Final = ("Makefile", "pyproject.toml", "requirements")
_OWN_NETWORK: Final = (
    "unshare",
    "-rnpf",
    "--kill-child",
    "sh",
    "-c",
    'ip link set lo up; exec "$@"',
)


def fresh_clone(folder: Path) -> Path:
    """Make a clone in which ``make setup`` was run, and has nothing left to do."""
    for name in _INPUTS:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
        copy(ROOT / name, folder / name)
    for path in [*folder.rglob("*")]:
        os.utime(path, (0, 0))
    programs = {".venv": Path(sys.executable).parent, ".venv-envoy": Path(envoy_binary()).parent}
    for name, found in programs.items():
        (folder / name).mkdir()
        (folder / name / "bin").symlink_to(found)
    (folder / ".node").mkdir()
    for name in (*programs, ".node"):
        (folder / name / ".done").touch()
    return folder


def run_script(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script of the shell with the usual ports, and end all that it left running."""
    command = ["bash", "-c", script]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}", "no_proxy": "localhost"}
    # In files: what it leaves running has its output too, and would keep a pipe open.
    with _the_ports() as own, TemporaryFile("w+") as out, TemporaryFile("w+") as err:
        child = subprocess.Popen(
            [*own, *command],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        try:
            status = child.wait(SECONDS)
        finally:
            _end(child)
        return subprocess.CompletedProcess(command, status, _read(out), _read(err))


def _read(file: IO[str]) -> str:
    file.seek(0)
    return file.read()


def _end(child: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError):  # all of them have ended
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


@contextmanager
def _the_ports() -> Iterator[list[str]]:
    """Give the words before a command that make a network for it, or wait for the machine's."""
    if _has_own_network():
        yield [*_OWN_NETWORK, "sh"]
        return
    with (ROOT / "pyproject.toml").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield []


@cache
def _has_own_network() -> bool:
    if not (shutil.which("unshare") and shutil.which("ip")):
        return False
    probe = subprocess.run([*_OWN_NETWORK, "sh", "true"], capture_output=True, check=False)
    return probe.returncode == 0
