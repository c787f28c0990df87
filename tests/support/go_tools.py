"""Tools written in Go that tests run: each is built once, from versions pinned to checksums.

A tool is a folder of ``tests/support/data`` whose ``go.mod`` and ``go.sum`` pin the tool, or what
its source needs. Its program is kept in ``.venv-go`` of the checkout, which ``make clean`` removes.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
BUILT = HERE.parents[1] / ".venv-go"
# Go 1.21 is the oldest that reads the go.mod files as they are written.
MISSING = None if shutil.which("go") else "this test builds a tool with Go, and `go` is not found"


def go_tool(name: str, package: str) -> Path:
    """Return the program of a tool; build it unless it was built from the same files."""
    source = HERE / "data" / name
    files = b"".join(file.read_bytes() for file in sorted(source.iterdir()))
    program = BUILT / f"{name}-{hashlib.sha256(files).hexdigest()[:16]}"
    if not program.exists():
        BUILT.mkdir(exist_ok=True)
        # Renamed when it is whole: another run of the tests may be building it too.
        with tempfile.TemporaryDirectory(dir=BUILT) as folder:
            built = Path(folder, name)
            command = ["go", "build", "-mod=readonly", "-o", str(built), package]
            environment = os.environ | {"GOFLAGS": "", "GOTOOLCHAIN": "local"}
            subprocess.run(command, cwd=source, env=environment, check=True, timeout=240)
            built.rename(program)
    return program
