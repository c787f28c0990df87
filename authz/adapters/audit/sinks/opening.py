"""Makes the writer of each sink that the config names."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from authz.adapters.audit.identity import WorkerIdentity
from authz.adapters.audit.settings import AuditSettings, SinkSettings, WhenFull
from authz.adapters.audit.sinks.chained_file import ChainedFile
from authz.adapters.audit.sinks.network_sinks import network_sink_of
from authz.adapters.audit.sinks.output import Output
from authz.adapters.audit.sinks.sink import Sink, sink_of
from authz.adapters.audit.sinks.spool import Spool
from authz.adapters.audit.sinks.worker_spool import spool_of
from authz.adapters.audit.sinks.writer import (
    FILE_LINES,
    FOLLOW_SECONDS,
    LONGEST_PAUSE_SECONDS,
    NETWORK_LINES,
    SinkWriter,
    WriterLimits,
)

IN_HAND_LINES: Final = 4096  # more than threads and the clerk have in hand


def writers_of(
    settings: AuditSettings, want_checkpoint: Callable[[], None], identity: WorkerIdentity
) -> tuple[SinkWriter, ...]:
    """Return a writer for each of the log's places; none runs yet.

    ``want_checkpoint`` asks for a checkpoint of a chained log. ``identity`` says which process
    writes.
    """
    return tuple(
        writer_of(
            settings,
            place,
            _sink_of(settings, place, want_checkpoint),
            spool_of(place, identity),
        )
        for place in settings.places
    )


def _sink_of(
    settings: AuditSettings, place: SinkSettings, want_checkpoint: Callable[[], None]
) -> Sink:
    if place.path is None:
        return network_sink_of(place)
    if place.kind == "file" and settings.chain is not None:
        return ChainedFile(Output(Path(str(place.path))), want_checkpoint)
    return sink_of(str(place.path))


def writer_of(
    settings: AuditSettings, place: SinkSettings, sink: Sink, spool: Spool | None = None
) -> SinkWriter:
    """Return the writer of a sink of one of the log's places."""
    is_file = place.path is not None
    limits = WriterLimits(
        queue=place.queue if settings.sinks else None,
        # What the log has taken when a sink becomes full may hold allows that were answered.
        beyond=settings.queue + IN_HAND_LINES if place.when_full is WhenFull.DENY else 0,
        must_record=place.when_full is WhenFull.DENY,
        lines_at_once=FILE_LINES if is_file else NETWORK_LINES,
        longest_pause=FOLLOW_SECONDS if is_file else LONGEST_PAUSE_SECONDS,
    )
    return SinkWriter(place, sink, limits, spool)
