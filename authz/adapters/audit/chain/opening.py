"""Opens and closes the log of a process: locks, earlier logs, and the lines that say so."""

import errno
import os
import time
from collections.abc import Iterable
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
        self._written = [path for _, path in written_files(settings)]
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
        self._require_files_of_their_own()
        worker, workers = self._identity.worker, self._identity.workers
        recovery = Recovery(self._signer, worker, workers, self.log.origin, self._written)
        # After a crash each file is closed alone, so that a log may have several ends.
        ends: dict[PreviousLog, None] = {}
        for path in filter(_is_kept, self._files):
            self._held.enter_context(closing(WorkerLock.hold(path, self._signer.name, worker)))
            ends |= dict.fromkeys(recovery.recover(path))
        return self.log.note(self._first(ends))

    def _require_files_of_their_own(self) -> None:
        """Raise OSError if two sinks or witnesses write to one file: no chain is whole there."""
        seen: set[str] = set()
        for path in filter(_is_kept, self._written):
            real = os.path.realpath(path)
            if real in seen:
                told = f"two sinks or witnesses write to {path}: give each a file of its own"
                raise OSError(errno.EINVAL, told)
            seen.add(real)

    def _first(self, ends: Iterable[PreviousLog]) -> dict[str, object]:
        return {
            "audit": "opened",
            "time": time_text(time.time()),
            "version": VERSION,
            "server": self._signer.name,
            "worker": self._identity.worker,
            "workers": self._identity.workers,
            "run": self._identity.run,
            "previous": [end.members() for end in ends],
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
