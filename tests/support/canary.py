"""Searches everything that the whole suite made the product say for tokens.

Every token and proof that the lab signs is a canary. Outputs are the answers of checks, files that
servers and proxies wrote, log records, metrics, and what tests caught of standard output. A run
that holds the first or last characters of any part of any canary fails as a whole.
"""

import logging
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import pytest

from lab.issuer import MADE

WINDOW: Final = 24  # characters: 18 bytes of a secret, and too many to meet by chance
MAX_FILE_BYTES: Final = 64 * 1024 * 1024
# What tests write for the product to read; and what holds keys on purpose.
INPUTS: Final = re.compile(r"token.*|.*\.(?:pem|key|crt|yaml)")
_RUN: Final = re.compile(rb"[A-Za-z0-9_-]{24,}")


def anchors(tokens: Iterable[str]) -> set[bytes]:
    """Return the parts by which tokens are found: each segment's first and last characters."""
    parts = (part.encode() for token in tokens for part in token.split(".") if len(part) >= WINDOW)
    return {end for part in parts for end in (part[:WINDOW], part[-WINDOW:])}


def leaks(data: bytes, known: set[bytes]) -> bool:
    """Tell whether the data holds a part of a token."""
    return any(
        run[at : at + WINDOW] in known
        for run in _RUN.findall(data)
        for at in range(len(run) - WINDOW + 1)
    )


class Canary(logging.Handler):
    """A pytest plugin that collects outputs, and fails the session at its end for a leak."""

    def __init__(self) -> None:
        """Begin without outputs."""
        super().__init__(logging.DEBUG)
        self.said: list[tuple[str, bytes]] = []
        self.found: list[str] = []
        self.is_blind = False

    def note(self, kind: str, data: bytes) -> None:
        """Remember an output, and its test."""
        self.said.append((f"{kind} in {os.environ.get('PYTEST_CURRENT_TEST', '?')}", data))

    def emit(self, record: logging.LogRecord) -> None:
        """Remember a log record, its extra fields too."""
        self.note("log", f"{record.getMessage()} {record.__dict__}".encode())

    @pytest.hookimpl
    def pytest_sessionstart(self) -> None:
        """Listen to every logger, and let ours say all that it could."""
        logging.getLogger().addHandler(self)
        logging.getLogger("authz").setLevel(logging.DEBUG)

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember the standard output and error that pytest caught of a test."""
        for name, text in report.sections:
            if "log" not in name:  # log records come through the handler, in full
                self.said.append((f"{name} of {report.nodeid}", text.encode()))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Search everything; a leak fails the session."""
        logging.getLogger().removeHandler(self)
        known = anchors(MADE)
        factory = getattr(session.config, "_tmp_path_factory", None)
        base = factory.getbasetemp() if factory else None
        outputs = [*self.said, *(_files(base) if base else [])]
        self.found = sorted({name for name, data in outputs if leaks(data, known)})
        self.is_blind = base is not None and not base.is_dir()
        if self.found or self.is_blind:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say where a token was seen, and never the token."""
        if self.is_blind:
            terminalreporter.line("NOT SEARCHED: the files of this run are gone", red=True)
        for name in self.found:
            terminalreporter.line(f"A TOKEN LEAKED: {name}", red=True)
        if MADE and not self.found and not self.is_blind:
            count = len(self.said)
            terminalreporter.line(
                f"no part of {len(MADE)} tokens in any output ({count} and files)"
            )


def _files(base: Path) -> Iterator[tuple[str, bytes]]:
    """Yield every file that the suite left, but for those that it wrote as inputs."""
    for path in sorted(base.rglob("*")) if base.is_dir() else ():
        if path.is_symlink() or not path.is_file() or INPUTS.fullmatch(path.name):
            continue
        yield f"file {path.relative_to(base)}", path.read_bytes()[:MAX_FILE_BYTES]


canary: Final = Canary()
