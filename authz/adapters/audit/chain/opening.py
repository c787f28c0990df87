"""Opens and closes the log of a process: locks, earlier logs, and the lines that say so."""

import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path

from authz.adapters.audit.batch import Batch
from authz.adapters.audit.chain.key import read_signer
from authz.adapters.audit.chain.lock import WorkerLock
from authz.adapters.audit.chain.recovery import PreviousLog, Recovery
from authz.adapters.audit.chain.tree_log import VERSION, Encoding, TreeLog, time_text
from authz.adapters.audit.identity import WorkerIdentity
from authz.adapters.audit.settings import AuditSettings, ChainSettings, written_files


class Chain:
    """The log of a process, from its first line to its last.

    Attributes:
        log: its tree and its checkpoints.
    """

    def __init__(
        self,
        settings: AuditSettings,
        chain: ChainSettings,
        identity: WorkerIdentity,
        encoding: Encoding,
    ) -> None:
        """Read the key. Raises ChainKeyError."""
        self._signer = read_signer(chain)
        self._files = [Path(str(one.path)) for one in settings.places if one.kind == "file"]
        self._written = frozenset(path for _, path in written_files(settings))
        self._identity = identity
        self._held = ExitStack()
        self.log = TreeLog(
            self._signer,
            identity.worker,
            encoding,
            records=chain.records,
            interval=chain.interval,
        )

    def open(self) -> Batch:
        """Lock the files, close what a crash left open, and return the log's first line.

        Raises OSError.
        """
        worker, workers = self._identity.worker, self._identity.workers
        recovery = Recovery(self._signer, worker, workers, self.log.origin, self._written)
        ends: dict[str, PreviousLog] = {}
        for path in filter(_is_kept, self._files):
            self._held.enter_context(closing(WorkerLock.hold(path, self._signer.name, worker)))
            for end in recovery.recover(path):
                known = ends.get(end.log)
                # After a crash one file may have more of a log than another.
                if known is None or known.size < end.size:
                    ends[end.log] = end
        return self.log.note(self._first(ends))

    def _first(self, ends: Mapping[str, PreviousLog]) -> dict[str, object]:
        return {
            "audit": "opened",
            "time": time_text(time.time()),
            "version": VERSION,
            "server": self._signer.name,
            "worker": self._identity.worker,
            "workers": self._identity.workers,
            "run": self._identity.run,
            "previous": [end.members() for end in ends.values()],
        }

    def dropped(self, count: int, since: float, until: float) -> Batch:
        """Return the line that says how many records were lost before they had an index."""
        times = {"since": time_text(since), "until": time_text(until)}
        return self.log.note({"audit": "dropped", "count": count, **times})

    def closed(self) -> Batch:
        """Return the log's last leaf."""
        now = time_text(time.time())
        return self.log.note({"audit": "closed", "reason": "stopped", "time": now})

    def close(self) -> None:
        """Free the files."""
        self._held.close()


def _is_kept(path: Path) -> bool:
    """Tell whether a path is that of a file that stays, and not of a pipe or a device."""
    return not path.exists() or path.is_file()
