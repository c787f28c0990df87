"""Writes the operational log: a few JSON lines on standard error, and none for each request.

A thread that logs does not wait for standard error (``log_writer``). Neither does a thread that
prints to ``sys.stderr``, as libraries' warnings and the tracebacks of threads do.
"""

import io
import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Final

import msgspec

from authz.server.log_writer import MAX_LINE_BYTES, LogStatus, LogWriter, keep_from_waiting

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
_MAX_MESSAGE: Final = MAX_LINE_BYTES // 2  # characters; the rest of the line must have room too
_STDERR: Final = 2
_log: Final = logging.getLogger("authz.server")


class JsonFormatter(logging.Formatter):
    """Formats a record as a JSON object: time, level, logger, message, and members of ``extra``."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record as a line; control characters in it are escaped."""
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage()[:_MAX_MESSAGE],
        }
        line.update({k: str(v) for k, v in vars(record).items() if k not in _STANDARD})
        if record.exc_info and record.exc_info[0]:
            line["error"] = record.exc_info[0].__name__  # never its text: it may quote input
            line["place"] = _place_of(record.exc_info[2])
        return msgspec.json.encode(line).decode()


def _place_of(trace: TracebackType | None) -> str:
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "?"


@contextmanager
def logging_to_stderr(level: str) -> Iterator[None]:
    """Send the log, and text printed to ``sys.stderr``, to standard error without waiting for it.

    Leaving it writes the queued lines, within FLUSH_SECONDS, and restores everything that it
    replaced. Lines of threads that run on are lost then: without a handler, ``logging`` would print
    them as text among the lines of JSON.
    """
    keep_from_waiting(_STDERR)
    handler = _QueueingHandler()
    stderr, errors = sys.stderr, logging.raiseExceptions
    hooks = threading.excepthook, sys.unraisablehook
    before = logging.root.handlers, logging.root.level
    logging.root.handlers = [handler]
    logging.root.setLevel(level.upper())
    logging.raiseExceptions = False
    sys.stderr = _Stderr(handler.writer)
    threading.excepthook, sys.unraisablehook = _of_thread, _of_finaliser
    try:
        yield
    finally:
        threading.excepthook, sys.unraisablehook = hooks
        sys.stderr, logging.raiseExceptions = stderr, errors
        logging.root.handlers = before[0] or [logging.NullHandler()]
        logging.root.setLevel(before[1])
        handler.writer.close()


class ProcessLog:
    """The log of this process, while ``logging_to_stderr`` is in force."""

    def status(self) -> LogStatus | None:
        """Return how many lines were lost, None if the log is not ours."""
        for handler in logging.root.handlers:
            if isinstance(handler, _QueueingHandler):
                return handler.writer.status()
        return None


class _QueueingHandler(logging.Handler):
    """Formats records, and queues the lines in a LogWriter."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonFormatter())
        self.writer = LogWriter(_STDERR, self._notice)

    def emit(self, record: logging.LogRecord) -> None:
        kind = str(record.msg)  # the message without its arguments
        try:
            line = self.format(record)
        except Exception as error:  # noqa: BLE001 - arguments that do not fit the message
            line = self._line(f"can't format a log line of {record.name}: {type(error).__name__}")
        self.writer.put(kind, line.encode())

    def _notice(self, message: str) -> bytes:
        return self._line(message).encode() + b"\n"

    def _line(self, message: str) -> str:
        level = logging.WARNING
        return self.format(_log.makeRecord(_log.name, level, "", 0, message, (), None))


class _Stderr(io.TextIOBase):
    """A replacement of ``sys.stderr``, which queues complete lines unchanged."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, writer: LogWriter) -> None:
        self._writer = writer
        self._begun = ""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return _STDERR

    def write(self, text: str) -> int:
        *lines, begun = (self._begun + text).split("\n")
        self._begun = begun[-MAX_LINE_BYTES:]
        for line in lines:
            self._writer.put("standard error", line.encode(errors="backslashreplace"))
        return len(text)


def _of_thread(failure: threading.ExceptHookArgs) -> None:
    if failure.exc_type is not SystemExit:
        name = failure.thread.name if failure.thread else "?"
        _log.error("the thread %s ended", name, exc_info=_info_of(failure))


def _of_finaliser(failure: "sys.UnraisableHookArgs") -> None:
    _log.error("an error that no caller could handle", exc_info=_info_of(failure))


_Info = tuple[type[BaseException], BaseException, TracebackType | None]


def _info_of(failure: "threading.ExceptHookArgs | sys.UnraisableHookArgs") -> _Info:
    return failure.exc_type, failure.exc_value or failure.exc_type(), failure.exc_traceback
