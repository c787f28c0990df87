"""Folders of Go modules that hold data, each held to a hash as ``go.sum`` writes it."""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class ModuleError(RuntimeError):
    """A module is not to be had, or is not the one that was meant."""


class GoModule(NamedTuple):
    """A module, its version, and the hash of its files."""

    path: str
    version: str
    sum: str

    def folder(self) -> Path:
        """Return the folder of its files, downloaded if need be. Raises ModuleError."""
        command = ["go", "mod", "download", "-json", f"{self.path}@{self.version}"]
        environment = os.environ | {"GOFLAGS": "", "GOTOOLCHAIN": "local", "GOWORK": "off"}
        with tempfile.TemporaryDirectory() as nowhere:  # no go.mod there has a say
            done = subprocess.run(
                command, cwd=nowhere, env=environment, capture_output=True, text=True, check=False
            )
        told = json.loads(done.stdout or "{}")
        if done.returncode:
            raise ModuleError(f"{self.path}: {told.get('Error') or done.stderr.strip()}")
        if told["Sum"] != self.sum:
            raise ModuleError(f"{self.path} {self.version} has {told['Sum']}, and not {self.sum}")
        return Path(told["Dir"])


def locked(file: Path) -> Iterator[GoModule]:
    """Yield the modules of a file of lines as in ``go.sum``; # begins a comment."""
    for line in file.read_text().splitlines():
        if line and not line.startswith("#"):
            yield GoModule(*line.split())
