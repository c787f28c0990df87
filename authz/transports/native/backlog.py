"""The queue of checks to decide: in the loop, a slice at a time, or in threads if they must wait.

Handing a check to another thread and back costs more than deciding it. So the loop itself decides
each check that needs no other system, which is bounded work: at once while the read has time left,
later for SLICE_SECONDS between two polls. A check that must wait for an issuer's keys or for a
decision point goes to the pool, and so does a message that takes long to read.

A check that could not be decided in time is refused on arrival, not when its turn comes: by then
its caller, and the callers behind it, would have given up.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from authz.edge.check_pool import CheckPool
from authz.edge.methods import Undecided
from authz.transports.native.loop import attempt, log_fault
from authz.transports.native.pace import Pace
from authz.transports.native.turns import SLICE_SECONDS

# The share of its caller's remaining time that a check may be expected to wait. The rest is for the
# decision itself, for the way back, and for a pace that changes.
WAITING_PART: Final = 0.5
# The pause after a slice, in slices, while more is read than can be answered. At five times the
# load that a process can decide, refusals take four fifths of its time.
REST: Final = 4.0
# Of long messages that wait for a thread or are being read by one: sixteen of the largest.
MAX_HELD_BYTES: Final = 64 * 1024 * 1024
# A connection may hold at most this many times the places that are still free: eight ninths of all
# places if it is alone; beside four greedy connections 31 of 1024 places stay free.
GREED: Final = 8


class Asker(Protocol):
    """The connection that asked and takes the answers, in the loop's thread."""

    def finish(self, stream_id: int, message: bytes | None) -> None:
        """Take an answer, None for an internal error; ``flush`` writes it."""

    def flush(self) -> None:
        """Write the answers."""

    def on_fault(self) -> None:
        """Give up after an exception of the others. Never raises."""


class Job:
    """A check that is to be decided.

    Attributes:
        asker: who asked.
        stream_id: for whom the answer is.
        deadline: monotonic seconds at which the caller gives up, None for no deadline.
        is_abandoned: whether the caller has given up.
    """

    __slots__ = ("asker", "deadline", "is_abandoned", "stream_id")

    def __init__(self, asker: Asker, stream_id: int, deadline: float | None) -> None:
        """Begin."""
        self.asker = asker
        self.stream_id = stream_id
        self.deadline = deadline
        self.is_abandoned = False

    def give_up(self) -> None:
        """Leave it no time, so that it is refused at once."""
        self.deadline = 0.0

    def time_remaining(self) -> float | None:
        """Return the seconds that the caller still waits, None for no deadline."""
        return None if self.deadline is None else self.deadline - time.monotonic()


class Backlog:
    """The jobs under way.

    Attributes:
        under_way: jobs without an answer, those of the pool included.
        held_bytes: of long messages that the pool has not answered.
    """

    def __init__(
        self,
        pool: CheckPool,
        max_concurrent: int,
        ask_loop: Callable[[Callable[[], object]], None],
    ) -> None:
        """Begin empty. ``ask_loop`` has the loop's thread call a function."""
        self._max_concurrent = max_concurrent
        self.under_way = 0
        self.held_bytes = 0
        self._pool = pool
        self._ask_loop = ask_loop
        # By asker, the next one first: each has its turn, however many checks another has.
        self._jobs: dict[Asker, deque[tuple[Job, Undecided]]] = {}
        self._waiting = 0
        self._pace = Pace()
        self._rests_until = 0.0

    @property
    def has_some(self) -> bool:
        """Whether ``work`` has something to do: a check waits for its turn, or one just did."""
        return self._waiting > 0 or self._pace.is_kept

    def has_time(self, until: float) -> bool:
        """Tell whether a check may be decided at once, in a slice that ends then (monotonic)."""
        return not self._waiting and time.monotonic() < until

    def is_too_long(self, job: Job) -> bool:
        """Tell whether a check would wait for too long: the pool is overloaded, or time runs out.

        Other askers have their turns between those of its own.
        """
        queue = self._jobs.get(job.asker)
        ahead = len(queue) * len(self._jobs) if queue else len(self._jobs)
        self._pool.pressure = min(self._waiting, ahead)
        is_overloaded = self._pool.is_overloaded()
        self._pool.pressure = 0
        if is_overloaded:
            return True
        left = job.time_remaining()
        return left is not None and ahead * self._pace.seconds > left * WAITING_PART

    def decide_now(self, job: Job, undecided: Undecided) -> bytes | None:
        """Return the answer to a check; None if it has to wait: then a thread goes on with it."""
        message = undecided.decide(job.time_remaining, may_wait=False)
        if message is None:
            self.hand_over(job, lambda job: undecided.decide(job.time_remaining, may_wait=True))
        return message

    def add(self, job: Job, undecided: Undecided) -> None:
        """Decide a check soon, in its turn."""
        self.under_way += 1
        self._jobs.setdefault(job.asker, deque()).append((job, undecided))
        self._waiting += 1
        self._pool.backlog = self._waiting

    def hand_over(
        self, job: Job, decide: Callable[[Job], bytes | None], held_bytes: int = 0
    ) -> None:
        """Have a thread of the pool decide a check, which holds so many bytes until then."""
        self.under_way += 1
        self.held_bytes += held_bytes
        self._pool.submit(self._in_thread, job, decide, held_bytes)

    def work(self, *, is_behind: bool = False) -> bool:
        """Decide for a slice of time; return whether there is more to decide.

        While more is read than can be answered (``is_behind``) deciding gets only a part of the
        time: checks that wait unread in sockets miss their deadlines unseen, and an early refusal
        is better.
        """
        jobs, begun = self._jobs, time.monotonic()
        if not jobs:
            self._pace.rest()
            return False
        if is_behind and begun < self._rests_until:
            return True
        waiting = self._waiting
        askers = self._decide_until(begun + SLICE_SECONDS)
        self._pool.pressure = 0  # for the pool's threads: what they decide was let in
        for asker in askers:
            attempt(asker.on_fault, asker.flush)
        now = time.monotonic()
        self._pace.note(now, waiting - self._waiting)
        self._rests_until = now + REST * (now - begun)
        return bool(jobs)

    def _decide_until(self, end: float) -> dict[Asker, None]:
        """Decide until a time has come, one check at least; return who asked."""
        jobs, clock = self._jobs, time.monotonic
        askers: dict[Asker, None] = {}
        while jobs:
            asker = next(iter(jobs))
            self._decide_next(asker)
            askers[asker] = None
            if clock() >= end:
                break
        return askers

    def _decide_next(self, asker: Asker) -> None:
        """Decide an asker's oldest check, and put the asker behind the others.

        An asker with a long queue is overloaded sooner: its queue counts as if all were as long.
        """
        queue = self._jobs.pop(asker)
        job, undecided = queue.popleft()
        self._waiting -= 1
        self._pool.backlog = self._waiting
        self._pool.decided += 1
        self._pool.pressure = min(self._waiting, len(queue) * (len(self._jobs) + 1))
        if queue:
            self._jobs[asker] = queue
        self._decide(job, undecided)

    def is_full_for(self, asker_jobs: int) -> bool:
        """Return whether an asker with so many jobs under way may have no further one.

        An asker with many jobs must leave places free for askers with few.
        """
        return asker_jobs >= GREED * (self._max_concurrent - self.under_way)

    def _decide(self, job: Job, undecided: Undecided) -> None:
        self.under_way -= 1
        if job.is_abandoned:
            return
        try:
            message = self.decide_now(job, undecided)
        except Exception as error:  # noqa: BLE001 - a fault is an error of the call, never an answer
            log_fault(error)
            _finish(job, None)
            return
        if message is not None:
            _finish(job, message)

    def _in_thread(self, job: Job, decide: Callable[[Job], bytes | None], held: int) -> None:
        """Decide in a thread of the pool, and give the answer to the loop."""
        message = None
        try:
            if not job.is_abandoned:
                message = decide(job)
        except Exception as error:  # noqa: BLE001 - as above
            log_fault(error)
        self._ask_loop(lambda: self._finished(job, message, held))

    def _finished(self, job: Job, message: bytes | None, held: int) -> None:
        self.under_way -= 1
        self.held_bytes -= held
        if not job.is_abandoned:
            _finish(job, message)
            attempt(job.asker.on_fault, job.asker.flush)


def _finish(job: Job, message: bytes | None) -> None:
    attempt(job.asker.on_fault, job.asker.finish, job.stream_id, message)
