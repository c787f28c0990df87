"""The sinks of the audit log, each held to what every sink must do."""

import contextlib
import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from authz.adapters.audit.sinks.sink import Sink, sink_of
from lab.live_files import whole_lines
from support.conformance.audit_sink import AuditSinkConformance, Destination


class File:
    """A file in a folder that can go away."""

    def __init__(self, folder: Path) -> None:
        """Make the folder."""
        self._folder, self._gone = folder / "log", folder / "gone"
        self._folder.mkdir()
        self._path = self._folder / "audit"
        self.sink: Sink = sink_of(str(self._path))

    def lines(self) -> list[str]:
        """Return what the file has."""
        return whole_lines(self._path) if self._path.exists() else []

    def break_(self) -> None:
        """Take the folder away."""
        self._folder.rename(self._gone)

    def mend(self) -> None:
        """Put the folder back."""
        self._gone.rename(self._folder)


class TestFile(AuditSinkConformance):
    """A file."""

    def destination(self, folder: Path) -> AbstractContextManager[Destination]:
        """Return one."""
        return contextlib.nullcontext(File(folder))


class Pipe:
    """A named pipe, whose reader can leave and come back."""

    def __init__(self, path: Path) -> None:
        """Make the pipe, and read it."""
        self._path = path
        os.mkfifo(path)
        self._sink = sink_of(str(path))
        self._read = b""
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._reader: int | None = self._open()
        self._thread = threading.Thread(target=self._follow)
        self._thread.start()

    @property
    def sink(self) -> Sink:
        """Return the sink."""
        return self._sink

    def _open(self) -> int:
        return os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)

    def _follow(self) -> None:
        while not self._stop.wait(0.002):
            self._take()

    def _take(self) -> None:
        with self._lock, contextlib.suppress(BlockingIOError):
            while self._reader is not None and (data := os.read(self._reader, 1 << 16)):
                self._read += data

    def lines(self) -> list[str]:
        """Return what was read."""
        self._take()
        return self._read.decode().splitlines()

    def break_(self) -> None:
        """Let the reader leave, once it has read all."""
        self._take()
        with self._lock:
            if self._reader is not None:
                os.close(self._reader)
            self._reader = None

    def mend(self) -> None:
        """Let it come back."""
        with self._lock:
            self._reader = self._open()

    def close(self) -> None:
        """Stop reading."""
        self._stop.set()
        self._thread.join()
        self.break_()


class TestNamedPipe(AuditSinkConformance):
    """A named pipe."""

    @contextmanager
    def destination(self, folder: Path) -> Iterator[Destination]:
        """Return one."""
        pipe = Pipe(folder / "pipe")
        try:
            yield pipe
        finally:
            pipe.close()


class StandardOutput(Pipe):
    """Standard output, which leads to a pipe from when the sink is asked for."""

    def __init__(self, path: Path) -> None:
        """Make the pipe."""
        super().__init__(path)
        self._sink = sink_of("-")
        self._stack = contextlib.ExitStack()
        self._ours = self._stack.enter_context(path.open("wb", buffering=0))

    @property
    def sink(self) -> Sink:
        """Return the sink. Before a test begins, standard output is the test runner's."""
        self._stack.enter_context(contextlib.redirect_stdout(self._ours))  # type: ignore[type-var]
        return self._sink

    def close(self) -> None:
        """Give standard output back."""
        self._stack.close()
        super().close()


class TestStandardOutput(AuditSinkConformance):
    """Standard output."""

    @contextmanager
    def destination(self, folder: Path) -> Iterator[Destination]:
        """Return one."""
        output = StandardOutput(folder / "pipe")
        try:
            yield output
        finally:
            output.close()
