"""The page on verifying the audit trail: its commands end as it says, and print what it shows."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from authz.core.tlog.note import NoteSigner
from support.chain_files import written
from support.chained_log import ChainedLog

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs" / "howto" / "verify-the-audit-trail.md").read_text()
_COMMANDS: Final = re.compile(r"<!-- test(?:: ([0-9]))? -->\n```sh\n(.*?)```\n", re.DOTALL)
_SHOWN: Final = re.compile(r"```text\n(.*?)```\n", re.DOTALL)


def write_logs(folder: Path) -> None:
    """Write the files that the page verifies, with the key that its first command made."""
    log = ChainedLog(NoteSigner("authz-1", (folder / "audit.key").read_bytes()))
    for number in range(40):
        log.record(number)
        if number == 20:
            packed = log.rotate()
    log.close()
    written(folder, {"audit.jsonl.1.gz": packed, "audit.jsonl": log.lines})
    witnessed = [line for line in (*packed, *log.lines) if b'"checkpoint"' in line]
    written(folder, {"checkpoints.jsonl": witnessed})


def test_the_commands(tmp_path: Path) -> None:
    """Each command ends with the status that the page says, and the shown outputs are theirs."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    printed = []
    commands = _COMMANDS.findall(PAGE)
    assert len(commands) == 6
    for status, text in commands:
        done = subprocess.run(
            ["sh", "-c", text], cwd=tmp_path, env=environment, capture_output=True, check=False
        )
        assert done.returncode == int(status or 0), (text, done)
        printed.append(done.stdout.decode())
        if not (tmp_path / "audit.jsonl").exists():
            write_logs(tmp_path)
    for shown in _SHOWN.findall(PAGE):
        assert any(output.startswith(shown) for output in printed), printed
