"""Progress: on a terminal while something takes long, gone at its end, and in no pipe."""

import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path

import pytest

from authz.cli.progress import progress
from lab.config_builder import AT_ISSUER, LAB
from lab.mesh import TRAVEL
from support.jwks_server import ScriptedServer, answer, ec_key, held, key_set
from support.verbs import URL, edit
from support.world import wait_until

ROOT = Path(__file__).parents[2]
CLEAR = b"\r\x1b[K"
WIDTH = 60


class Terminal:
    """A terminal of WIDTH columns, and all that was written to it."""

    def __init__(self) -> None:
        """Open it."""
        self._master, self.end = pty.openpty()
        fcntl.ioctl(self.end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, WIDTH, 0, 0))
        self.shown = b""

    @contextmanager
    def as_stderr(self) -> Iterator[None]:
        """Have it as standard error of this process."""
        with os.fdopen(os.dup(self.end), "w") as stderr, redirect_stderr(stderr):
            yield

    def wait_for(self, text: bytes) -> None:
        """Read until a text was shown."""
        wait_until(lambda: text in self._read())

    def _read(self) -> bytes:
        while select.select([self._master], [], [], 0)[0]:
            self.shown += os.read(self._master, 4096)
        return self.shown

    def close(self) -> None:
        """Close both ends."""
        os.close(self._master)
        os.close(self.end)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """A terminal."""
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    monkeypatch.setenv("TERM", "xterm")
    opened = Terminal()
    yield opened
    opened.close()


def test_a_terminal_shows_what_is_done(terminal: Terminal) -> None:
    """The newest text is shown after a while, in one line, and erased at the end."""
    with terminal.as_stderr(), progress("first") as tell:
        terminal.wait_for(b"first (")
        tell("second: 25%\x1b[2J")
        terminal.wait_for(b"second: 25%?[2J (")
        tell("x" * 1000)
        terminal.wait_for(b"xxx (")
    terminal.wait_for(b" s)" + CLEAR)

    assert terminal.shown.endswith(CLEAR)
    lines = terminal.shown.split(CLEAR)
    assert max(map(len, lines)) < WIDTH
    assert b"\n" not in terminal.shown


def test_what_is_quick_shows_nothing(terminal: Terminal) -> None:
    """What takes less than NEWS_SECONDS leaves the terminal as it was."""
    with terminal.as_stderr(), progress("quick"):
        assert sys.stderr.isatty()
    os.write(terminal.end, b"end")
    terminal.wait_for(b"end")

    assert terminal.shown == b"end"


def test_no_thread_without_a_terminal(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Into a pipe, or on a terminal that can't erase, nothing is shown and no thread started."""
    before = threading.active_count()
    with progress("nothing") as tell:
        tell("at all")
        assert threading.active_count() == before
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("TERM", "dumb")
    with terminal.as_stderr(), progress("nothing"):
        assert threading.active_count() == before


def test_keys_tells_whom_it_waits_for(config: Path) -> None:
    """While an issuer does not answer, authz keys shows its URL and how many did, and clears that.

    Standard output, a pipe here, has the answer alone.
    """
    terminal, may_answer = Terminal(), threading.Event()
    server = ScriptedServer(held(may_answer, answer(key_set(ec_key("a")))))
    keys = {"jwks_uri": server.url, "insecure": True, "timeout": "10s"}
    edit(config, LAB.with_((*AT_ISSUER, "keys"), keys))
    with subprocess.Popen(
        [sys.executable, "-m", "authz", "keys", str(config), "--json"],
        stdout=subprocess.PIPE,
        stderr=terminal.end,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", "TERM": "xterm"},
    ) as child:
        terminal.wait_for(f"asking {server.url}: 0 of 1 have answered (".encode())
        may_answer.set()
        out, _ = child.communicate()
    server.close()
    terminal.wait_for(b" s)" + CLEAR)
    terminal.close()

    assert child.returncode == 0
    assert [key["kid"] for key in json.loads(out)["issuers"][0]["keys"]] == ["a"]


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["check", "PIPE"], "checking {}"),
        (["who-can", "PIPE", "GET", URL], "reading {}"),
        (["explain", "PIPE", "GET", URL, "--agent", TRAVEL], "reading {}"),
        (["token", "check", "PIPE", "/dev/null"], "reading {}"),
        (["test", "PIPE", "/dev/null"], "reading {}"),
    ],
    ids=lambda words: words[0],
)
def test_verbs_tell_that_they_read(config: Path, words: list[str], shown: str) -> None:
    """A verb whose config takes long to read says so; here somebody writes it into a pipe."""
    pipe = config.with_name("p")
    os.mkfifo(pipe)
    terminal = Terminal()
    with subprocess.Popen(
        [sys.executable, "-m", "authz", *(str(pipe) if one == "PIPE" else one for one in words)],
        stdout=subprocess.DEVNULL,
        stderr=terminal.end,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", "TERM": "xterm"},
    ) as child:
        terminal.wait_for(f"{CLEAR.decode()}{shown.format(pipe)} (".encode())
        pipe.write_bytes(config.read_bytes())
        child.wait()
    terminal.wait_for(b" s)" + CLEAR)
    terminal.close()
