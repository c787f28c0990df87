"""The spool of a sink for one of several workers, and those of workers that are no more."""

import logging
from pathlib import Path
from typing import Final

from authz.adapters.audit.identity import WorkerIdentity
from authz.adapters.audit.settings import SinkSettings
from authz.adapters.audit.sinks.spool import Spool

MIB: Final = 1024 * 1024
_log: Final = logging.getLogger("authz.audit")


class WorkerSpool(Spool):
    """A worker's spool: ``FOLDER/SINK/WORKER``. The first worker adopts those without a worker."""

    def __init__(self, folder: Path, max_bytes: int, identity: WorkerIdentity) -> None:
        """Take the folder of the sink, for all of its workers."""
        super().__init__(folder / str(identity.worker), max_bytes)
        self._all = folder
        self._identity = identity

    def open(self) -> None:
        """Take the folder, and lines of workers that are no more. Raises OSError."""
        super().open()
        for orphan in self._orphans():
            try:
                self.adopt(orphan)
            except OSError as error:  # it is there at the next start
                _log.warning("can't take over the spool %s: %s", orphan, error.strerror)

    def _orphans(self) -> list[Path]:
        if self._identity.worker:
            return []
        found = [one for one in self._all.iterdir() if one.name.isdecimal()]
        return sorted(one for one in found if int(one.name) >= self._identity.workers)


def spool_of(place: SinkSettings, identity: WorkerIdentity) -> Spool | None:
    """Return the spool that a sink's settings name, if they do."""
    if place.spool is None:
        return None
    folder = Path(place.spool.folder) / place.label
    return WorkerSpool(folder, place.spool.max_megabytes * MIB, identity)
