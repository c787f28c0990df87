"""Searches everything that the whole suite made the product say for tokens.

Every token and proof that the lab signs is a canary, and so is every signed JWT, whoever made it
(`authz token make` makes some: a test that lets it print reads what it printed). Outputs are the
answers of checks, files that servers and proxies wrote, log records, metrics, and what tests caught
of standard output. A run that holds the first or last characters of any part of any canary fails as
a whole.

Where pytest-xdist runs tests side by side, each of its workers searches what its own tests made for
the tokens that they signed, and the controller, which runs no test, adds up what they found.
"""

import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from lab.issuer import MADE

WINDOW: Final = 24  # characters: 18 bytes of a secret, and too many to meet by chance
_GRAM: Final = 8  # wherever a window begins, one of its grams begins at a multiple of _STRIDE
_STRIDE: Final = WINDOW - _GRAM + 1
MAX_FILE_BYTES: Final = 64 * 1024 * 1024
# What tests write for the product to read; and what holds keys on purpose.
INPUTS: Final = re.compile(r"token.*|.*\.(?:pem|key|crt|yaml)")
_SIGNED: Final = re.compile(rb"eyJ[A-Za-z0-9_-]{20,}\.eyJ[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{64,}")
_RUN: Final = re.compile(rb"[A-Za-z0-9_-]{24,}")


def anchors(tokens: Iterable[str]) -> set[bytes]:
    """Return the parts by which tokens are found: each segment's first and last characters."""
    parts = (part.encode() for token in tokens for part in token.split(".") if len(part) >= WINDOW)
    return {end for part in parts for end in (part[:WINDOW], part[-WINDOW:])}


def grams(known: Iterable[bytes]) -> set[bytes]:
    """Return the short pieces of anchors, by which ``leaks`` finds out where to look."""
    return {part[at : at + _GRAM] for part in known for at in range(_STRIDE)}


def leaks(data: bytes, known: set[bytes], pieces: set[bytes] | None = None) -> bool:
    """Tell whether the data holds a signed JWT, or a part of a known token."""
    pieces = grams(known) if pieces is None else pieces
    return _SIGNED.search(data) is not None or any(
        run[at : at + WINDOW] in known
        for run in _RUN.findall(data)
        if any(run[at : at + _GRAM] in pieces for at in range(0, len(run), _STRIDE))
        for at in range(len(run) - WINDOW + 1)
    )


class Canary(logging.Handler):
    """A pytest plugin that collects outputs, and fails the session at its end for a leak."""

    def __init__(self) -> None:
        """Begin without outputs."""
        super().__init__(logging.DEBUG)
        self.said: list[tuple[str, bytes]] = []
        self.found: set[str] = set()
        self.is_blind = False
        self.tokens = 0
        self.outputs = 0

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

    @pytest.hookimpl(optionalhook=True)  # without pytest-xdist nobody calls it
    def pytest_testnodedown(self, node: Any) -> None:
        """Add up what a worker found; a worker that crashed has not searched."""
        self._add(**getattr(node, "workeroutput", {}).get("canary", {"is_blind": True}))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Search everything; a leak fails the session."""
        logging.getLogger().removeHandler(self)
        if not session.config.pluginmanager.hasplugin("dsession"):  # the controller's workers do
            factory = getattr(session.config, "_tmp_path_factory", None)
            told = self._search(factory.getbasetemp() if factory else None)
            getattr(session.config, "workeroutput", {})["canary"] = told
            self._add(**told)
        if self.found or self.is_blind:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _search(self, base: Path | None) -> dict[str, Any]:
        """Search the outputs and the files of this process; what was found is plain data."""
        known = anchors(MADE)
        pieces = grams(known)
        outputs = [*self.said, *(_files(base) if base else [])]
        return {
            "found": sorted({name for name, data in outputs if leaks(data, known, pieces)}),
            "is_blind": base is not None and not base.is_dir(),
            "tokens": len(MADE),
            "outputs": len(self.said),
        }

    def _add(
        self, *, found: Sequence[str] = (), is_blind: bool, tokens: int = 0, outputs: int = 0
    ) -> None:
        self.found.update(found)
        self.is_blind |= is_blind
        self.tokens += tokens
        self.outputs += outputs

    @pytest.hookimpl
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say where a token was seen, and never the token."""
        if self.is_blind:
            terminalreporter.line("NOT SEARCHED: the files of this run are gone", red=True)
        for name in sorted(self.found):
            terminalreporter.line(f"A TOKEN LEAKED: {name}", red=True)
        if self.tokens and not self.found and not self.is_blind:
            terminalreporter.line(
                f"no part of {self.tokens} tokens in any output ({self.outputs} and files)"
            )


def _files(base: Path) -> Iterator[tuple[str, bytes]]:
    """Yield every file that the suite left, but for those that it wrote as inputs."""
    for path in sorted(base.rglob("*")) if base.is_dir() else ():
        if path.is_symlink() or not path.is_file() or INPUTS.fullmatch(path.name):
            continue
        yield f"file {path.relative_to(base)}", path.read_bytes()[:MAX_FILE_BYTES]


canary: Final = Canary()
