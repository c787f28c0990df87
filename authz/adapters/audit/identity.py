"""Says which process of a server writes records."""

import secrets
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class WorkerIdentity:
    """A process that writes a log.

    Attributes:
        worker: its number, from 0 on.
        workers: how many there are.
        run: the same text for all workers of one start of the server.
    """

    worker: int = 0
    workers: int = 1
    run: str = field(default_factory=lambda: secrets.token_hex(8))
