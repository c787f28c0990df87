"""Finds what is missing as a whole: ends of logs, workers of a run, logs of earlier runs."""

from base64 import b64encode
from collections.abc import Sequence

from authz.review.audit_chain.clerk_lines import Closed, Opened, Previous
from authz.review.audit_chain.findings import Findings, Place
from authz.review.audit_chain.logs import Log, tell_uncovered


class Completeness:
    """Checks that the logs are whole, and all here."""

    def __init__(
        self,
        logs: Sequence[Log],
        findings: Findings,
        *,
        is_running: bool = False,
        is_partial: bool = False,
        is_strict: bool = False,
    ) -> None:
        """Take the logs.

        Args:
            logs: all that were read.
            findings: takes what is found.
            is_running: the newest log of each worker need not be closed.
            is_partial: earlier files, and files of other workers, need not be here.
            is_strict: what only a signature excuses is an error.
        """
        self._logs = {log.origin: log for log in logs}
        self._findings = findings
        self._is_running = is_running
        self._is_partial = is_partial
        self._is_strict = is_strict
        self._opened = [(log, log.stretch.opened) for log in logs]
        self._named_by: dict[str, set[str]] = {}
        for log, opened in self._opened:
            names = {each.log for each in opened.previous} if opened else set()
            self._named_by.setdefault(_run_of(log), set()).update(names)
        self._named = {each.log for _, opened in self._opened if opened for each in opened.previous}

    def check(self) -> None:
        """Check all."""
        for log in self._logs.values():
            self._begin(log)
            self._end(log)
        for log, opened in self._opened:
            if opened is not None:
                self._origin(log, opened)
                self._previous(log, opened)
        self._workers()

    def _begin(self, log: Log) -> None:
        stretch = log.stretch
        head = stretch.open_head
        if stretch.begin and not (self._is_partial or log.has_hole):
            message = (
                f"{log.origin} begins with record {stretch.begin} here: files before are missing"
                " (with --partial, what is here is proven alone)"
            )
            self._findings.error(stretch.begins_at, message)
        if stretch.begin and head.begin < head.end:
            self._no_checkpoint(log, stretch.begins_at)

    def _no_checkpoint(self, log: Log, place: Place) -> None:
        head, first = log.stretch.open_head, log.stretch.first_at
        self._findings.error(
            place,
            f"records {head.begin} to {head.end - 1} of {log.origin} have no checkpoint before"
            " them, so nothing proves them",
            first.line if first is not None and first.file == place.file else 0,
        )

    def _end(self, log: Log) -> None:
        stretch, findings = log.stretch, self._findings
        may_run = self._may_run(log)
        if stretch.rest.begin < stretch.rest.end and stretch.last and stretch.rest_at:
            if may_run and stretch.closed is None:
                count = stretch.rest.end - stretch.rest.begin
                what = "1 record" if count == 1 else f"{count} records"
                findings.note(stretch.rest_at, f"no checkpoint covers {what} of {log.origin} yet")
            else:
                tell_uncovered(stretch, stretch.rest_at, findings)
        closed = stretch.closed
        if closed is None and may_run:
            findings.note(
                stretch.ends_at, f"{log.origin} is open: nothing proves that this is its end"
            )
        elif closed is None:
            findings.error(
                stretch.ends_at, f"{log.origin} is not closed: its end is missing{self._perhaps()}"
            )
        elif closed.is_crash:
            self._crashed(log, closed)

    def _perhaps(self) -> str:
        """Return the harmless reasons for an open log, unless one was excluded by a flag."""
        if self._is_running:
            return ""
        return (
            ", unless the server still runs (--running), or crashed and has not been started again"
        )

    def _crashed(self, log: Log, closed: Closed) -> None:
        after = "" if closed.after is None else f" from index {closed.after} on"
        late = closed.unsigned
        found = (
            f"; records {late.start} to {late.stop - 1} were signed only by the next start, as it"
            " found them"
        )
        message = f"the process of {log.origin} crashed: records{after} may be lost"
        message += found if late else ""
        self._findings.told(closed.place, message, is_error=self._is_strict)
        is_followed = closed.recovered_by in self._logs or log.origin in self._named
        if closed.recovered_by and not (is_followed or self._is_running or self._is_partial):
            message = f"the log {closed.recovered_by}, which closed this one, is missing"
            self._findings.error(closed.place, message)

    def _may_run(self, log: Log) -> bool:
        """Tell whether a log may still be written: no other log says that it has ended."""
        return (
            self._is_running
            and log.origin not in self._named
            and not any(self._is_later(other, log) for other in self._logs.values())
        )

    def _is_later(self, other: Log, log: Log) -> bool:
        """Tell whether another log of the worker, or of a later run, was opened later."""
        if other.server != log.server or other.opened_at <= log.opened_at:
            return False
        if other.origin in self._before(log):  # the clock was set back between them
            return False
        mine, others = log.stretch.opened, other.stretch.opened
        is_other_run = mine is not None and others is not None and mine.run != others.run
        return other.worker == log.worker or is_other_run

    def _before(self, log: Log) -> set[str]:
        """Return the logs before a log, as its run and those before it name them."""
        found: set[str] = set()
        runs = [_run_of(log)]
        while runs:
            names = self._named_by.get(runs.pop(), set()) - found
            found |= names
            runs += {_run_of(self._logs[name]) for name in names if name in self._logs}
        return found

    def _origin(self, log: Log, opened: Opened) -> None:
        if log.worker != str(opened.worker) or not 0 <= opened.worker < opened.workers:
            message = f"{log.origin} says that it is of worker {opened.worker} of {opened.workers}"
            self._findings.error(opened.place, message)

    def _previous(self, log: Log, opened: Opened) -> None:
        for each in opened.previous:
            self._one_previous(each, opened.place)
        if not opened.previous and not self._is_partial and self._has_earlier(log):
            self._findings.told(
                opened.place,
                f"{log.origin} names no log before it, so nothing proves that none is missing"
                " between it and earlier ones",
                is_error=self._is_strict,
            )

    def _has_earlier(self, log: Log) -> bool:
        return any(
            other.server == log.server
            and other.worker == log.worker
            and other.opened_at < log.opened_at
            and log.origin not in self._before(other)
            for other in self._logs.values()
        )

    def _one_previous(self, named: Previous, place: Place) -> None:
        log = self._logs.get(named.log)
        if log is None:
            if not self._is_partial:
                message = f"the log before, {named.log}, is missing: {named.size} records"
                self._findings.error(place, message)
            return
        if any((size, _text(root)) == (named.size, named.root) for size, root in log.crash_ends):
            return
        tree = log.stretch.tree()
        if log.stretch.end < named.size:
            self._findings.error(
                log.stretch.ends_at,
                f"the end of {log.origin} is missing: records {log.stretch.end} to"
                f" {named.size - 1}, which {place} tells of",
            )
        elif log.stretch.end > named.size:
            message = f"{log.origin} ended with {named.size} records, by {place}, and has more here"
            self._findings.error(log.stretch.ends_at, message)
        elif tree is not None and _text(tree.root()) != named.root:
            message = f"{log.origin} is not the log that {place} names: its root is another"
            self._findings.error(log.stretch.ends_at, message)

    def _workers(self) -> None:
        """Require the logs of all workers of each run."""
        runs: dict[tuple[str, str], list[Opened]] = {}
        for log, opened in self._opened:
            if opened is not None:
                runs.setdefault((log.server, opened.run), []).append(opened)
        for (server, run), opened_logs in runs.items():
            first = opened_logs[0]
            if any(each.workers != first.workers for each in opened_logs):
                self._findings.error(
                    first.place, f"run {run} of {server} has two numbers of workers"
                )
            present = {each.worker for each in opened_logs}
            missing = [n for n in range(first.workers) if n not in present]
            if missing and not self._is_partial:
                which = ", ".join(map(str, missing[:10]))
                message = f"run {run} of {server} has {first.workers} workers: no log of {which}"
                self._findings.error(first.place, message)


def _run_of(log: Log) -> str:
    """Return the run of a log; a text of its own for a log whose beginning is not here."""
    opened = log.stretch.opened
    return log.origin if opened is None else f"{log.server} {opened.run}"


def _text(root: bytes) -> str:
    return b64encode(root).decode()
