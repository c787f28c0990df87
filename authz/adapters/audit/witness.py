"""Brings each checkpoint to the witnesses: places that keep them apart from the records.

A witness has a queue and a thread of its own, as a sink has: none of them delays the log.
"""

import json
from typing import Final

from authz.adapters.audit.settings import (
    STANDARD_OUTPUT,
    AuditSettings,
    HttpSinkSettings,
    SinkSettings,
    WitnessSettings,
)
from authz.adapters.audit.sinks.sink import Sink, sink_of
from authz.adapters.audit.sinks.writer import (
    FILE_LINES,
    FOLLOW_SECONDS,
    LONGEST_PAUSE_SECONDS,
    SinkWriter,
    WriterLimits,
)

QUEUE: Final = 10_000  # checkpoints that wait for a witness that is away: hours of them
_HEADERS: Final = {"content-type": "text/plain; charset=utf-8"}


class NoteReceiver:
    """A URL that takes signed notes, each in a POST: a ``Sink`` of checkpoints' lines."""

    def __init__(self, settings: HttpSinkSettings) -> None:
        """Take the URL; the first flush connects."""
        from authz.adapters.receivers.http_receiver import (  # noqa: PLC0415 - loads urllib3
            HttpReceiver,
            PostTarget,
        )

        self._receiver = HttpReceiver(
            PostTarget(settings.url, settings.headers, settings.token_file, settings.tls)
        )
        self._timeout = settings.timeout
        self._lines: list[bytes] = []

    @property
    def waiting(self) -> int:
        """Return the number of checkpoints that are not yet sent."""
        return len(self._lines)

    def follow(self) -> None:
        """Do nothing: ``flush`` connects."""

    def take(self, lines: bytes) -> None:
        """Take lines of checkpoints."""
        self._lines = lines.splitlines()

    def flush(self) -> None:
        """Send the notes. Raises ReceiverError: what was not taken still waits."""
        from authz.adapters.receivers.receiver import ReceiverError  # noqa: PLC0415 - as above

        while self._lines:
            note = json.loads(self._lines[0])["checkpoint"].encode()
            answer = self._receiver.post(note, self._timeout)
            if not 200 <= answer.status < 300:  # noqa: PLR2004 - RFC 9110 section 15.3
                self._receiver.close()
                raise ReceiverError(f"status {answer.status}", answer.retry_after_seconds)
            del self._lines[0]

    def reopen(self) -> None:
        """Do nothing: connections are left by themselves."""

    def close(self) -> None:
        """Leave the connection."""
        self._receiver.close()


def witnesses_of(settings: AuditSettings) -> tuple[SinkWriter, ...]:
    """Return a writer for each witness of the log; none runs yet."""
    witnesses = settings.chain.witnesses if settings.chain is not None else ()
    return tuple(_writer(number, witness) for number, witness in enumerate(witnesses))


def _writer(number: int, witness: WitnessSettings) -> SinkWriter:
    name = f"witness-{number}"
    if witness.url is None:
        path = witness.file or STANDARD_OUTPUT
        limits = WriterLimits(queue=QUEUE, lines_at_once=FILE_LINES, longest_pause=FOLLOW_SECONDS)
        return SinkWriter(SinkSettings(name=name, path=path), sink_of(path), limits)
    http = HttpSinkSettings(
        url=witness.url, headers=_HEADERS, tls=witness.tls, insecure=witness.insecure
    )
    limits = WriterLimits(queue=QUEUE, lines_at_once=1, longest_pause=LONGEST_PAUSE_SECONDS)
    sink: Sink = NoteReceiver(http)
    return SinkWriter(SinkSettings(name=name, http=http), sink, limits)
