"""Runs commands in a group of their own, by which SPIRE's unix attestor tells workloads apart."""

import subprocess
from collections.abc import Sequence

from support.world import wait_until


def in_group(group: int, command: Sequence[str]) -> list[str]:
    """Return the command that runs this one with the group alone. It needs root."""
    return ["setpriv", f"--regid={group}", "--clear-groups", *command]


def output_of(command: Sequence[str], *, seconds: float = 60.0) -> str:
    """Run a command, and return what it printed. Raises RuntimeError with its words if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    if done.returncode:
        said = (done.stdout + done.stderr).strip()
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {said}")
    return done.stdout


def succeeds(command: Sequence[str], *, seconds: float = 60.0) -> bool:
    """Run a command, and tell whether it ended well."""
    done = subprocess.run(command, capture_output=True, timeout=seconds, check=False)
    return done.returncode == 0


def wait_for(command: Sequence[str], *, seconds: float = 120.0) -> None:
    """Run a command again and again until it ends well."""
    wait_until(lambda: succeeds(command), seconds)
