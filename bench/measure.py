"""What was measured: CPU of servers, latencies, and their medians over the rounds."""

import os
import statistics
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from bench.load import Summary

PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Cell:
    """One server under one load: medians over the rounds, in microseconds."""

    cpu: float = 0.0
    p50: float = 0.0
    p99: float = 0.0
    p999: float = 0.0
    per_second: float = 0.0


Key = tuple[str, str]  # what is asked of whom, and the load


@dataclass
class Run:
    """What was measured."""

    rounds: int
    scale: float
    samples: dict[Key, list[Cell]] = field(default_factory=dict)
    raw_us: dict[str, list[float]] = field(default_factory=dict)  # a signature, by algorithm

    def note(self, name: str, mode: str, result: Summary, cpu_seconds: float) -> None:
        """Take one measurement."""
        p50, p99, p999 = (part * 1e6 for part in (result.p50, result.p99, result.p999))
        cpu, per_second = cpu_seconds / result.count * 1e6, result.count / result.seconds
        self.samples.setdefault((name, mode), []).append(Cell(cpu, p50, p99, p999, per_second))

    def cell(self, name: str, mode: str) -> Cell:
        """Return the medians. Raises KeyError for what was left out."""
        rows = [asdict(cell) for cell in self.samples[name, mode]]
        return Cell(**{key: statistics.median(row[key] for row in rows) for key in rows[0]})

    def ratio(self, name: str, other: str, mode: str = "32", of: str = "cpu") -> float:
        """Return the median over the rounds of the ratio within each. Raises KeyError likewise."""
        pairs = zip(self.samples[name, mode], self.samples[other, mode], strict=True)
        return float(statistics.median(getattr(a, of) / getattr(b, of) for a, b in pairs))


def tree(pid: int) -> list[int]:
    """Return a process and all that it started, for as long as they live."""
    found = [pid]
    for one in found:  # grows while it is read
        for task in Path(f"/proc/{one}/task").iterdir():
            found.extend(map(int, (task / "children").read_text().split()))
    return found


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process tree, ended threads included, to the nanosecond."""
    return sum(time.clock_gettime(~one << 3 | 2) for one in tree(pid))  # clock_getcpuclockid(3)


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process tree, in megabytes."""
    pages = (int(Path(f"/proc/{one}/statm").read_text().split()[1]) for one in tree(pid))
    return sum(pages) * PAGE_BYTES / 1e6
