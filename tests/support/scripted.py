"""A method whose answers are told beforehand by the messages themselves, and a log of its steps."""

import threading
from dataclasses import dataclass, field

from authz.edge.clock import TimeRemaining
from authz.edge.methods import AUTHORIZATION, Methods
from support.world import PATIENCE_SECONDS

KEPT_BYTES = 20  # of a message, in its answer and in the log


@dataclass
class Scripted:
    """Answers with a message's first bytes, in the way that the message tells.

    One that begins with ``known`` is remembered, ``wait`` is decided only by those who may wait,
    and ``begin!`` and ``decide!`` raise there. One with ``hold`` is decided no sooner than ``go``.
    Any other is decided at once.

    Attributes:
        go: lets what is held go on.
        held: released by each that is held.
        steps: messages as they were begun (``remembered``) or decided, and the thread's name.
        remaining: seconds that were left to those decided.
    """

    go: threading.Event = field(default_factory=threading.Event)
    held: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    steps: list[tuple[bytes, str]] = field(default_factory=list)
    remaining: list[float | None] = field(default_factory=list)

    @property
    def methods(self) -> Methods:
        """The table with this one method."""
        return {AUTHORIZATION: {"Check": self}}

    @property
    def order(self) -> list[bytes]:
        """The messages in the order in which they were answered."""
        return [message for message, _ in self.steps]

    def begin(self, data: bytes, _: str = "", /) -> "bytes | Decided":
        """Answer what is remembered."""
        if data.startswith(b"begin!"):
            raise RuntimeError("secret")
        if data.startswith(b"known"):
            self.note(data)
            return data[:KEPT_BYTES]
        return Decided(self, data)

    def note(self, data: bytes) -> None:
        """Note a step."""
        self.steps.append((data[:KEPT_BYTES], threading.current_thread().name))


@dataclass
class Decided:
    """A message that is decided in the second step."""

    of: Scripted
    data: bytes

    def decide(self, time_remaining: TimeRemaining, *, may_wait: bool) -> bytes | None:
        """Answer, None where that takes a wait and it may not."""
        if self.data.startswith(b"wait") and not may_wait:
            return None
        self.of.remaining.append(time_remaining())
        self.of.note(self.data)
        if b"hold" in self.data:
            self.of.held.release()
            assert self.of.go.wait(PATIENCE_SECONDS)
        if self.data.startswith(b"decide!"):
            raise RuntimeError("secret")
        return self.data[:KEPT_BYTES]
