"""Holds a chained log's file for a worker: nobody takes a live process for a crashed one."""

import errno
import fcntl
import os
from pathlib import Path
from typing import Final, Self

_MODE: Final = 0o600


class WorkerLock:
    """A lock on a small file beside the log. The system frees it when the process ends, however."""

    def __init__(self, descriptor: int) -> None:
        """Take the open file; ``hold`` makes a lock."""
        self._descriptor: int | None = descriptor

    @classmethod
    def hold(cls, log: Path, server: str, worker: int) -> Self:
        """Lock a file for a worker of a server. Raises OSError: EBUSY if another process has it."""
        path = log.with_name(f".{log.name}.{server}.{worker}.lock")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, _MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            told = f"another process named {server} writes to {log}; set another audit.chain.name"
            raise OSError(errno.EBUSY, told) from None
        except OSError as error:  # some network file systems have no locks
            os.close(descriptor)
            told = f"{path.parent} can't be locked, as a chained log must be: {error.strerror}"
            raise OSError(error.errno, told) from None
        return cls(descriptor)

    def close(self) -> None:
        """Free the lock. Its file stays: who removes it could remove that of another process."""
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = None
