"""The bars: what is compared with what, and at most how much it may be."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from bench.measure import Run
from bench.servers import (
    ASSERTING,
    BEFORE,
    C_ECHO,
    CHAINED,
    GO,
    GO_CACHE,
    GO_ECHO,
    GRPCIO,
    OURS,
    SHARED,
    SWITCHED,
)
from bench.start import Starts

PATHS, TOKENS, CALLS, RAW = "new path", "cold ES256", "MCP call", "raw headers"
PRINCIPALS = "cold ES256, new principal"


@dataclass(frozen=True)
class Bar:
    """A ratio of two cells, as the median over the rounds, and the most that it may be."""

    text: str
    top: str
    bottom: str
    most: float
    mode: str = "32"

    def measure(self, run: Run) -> float | None:
        """Return the ratio, None where one of the two was left out."""
        try:
            return run.ratio(self.top, self.bottom, self.mode)
        except KeyError:
            return None


def of(server: str, what: str) -> str:
    """Return the name of a cell: who was asked, and what."""
    return f"{server}, {what}"


BARS: Final = (
    Bar("remembered / ours on grpcio", OURS, GRPCIO, 0.25),
    Bar("remembered / ours on grpcio", OURS, GRPCIO, 0.45, "one"),
    Bar("remembered / ours on grpcio", OURS, GRPCIO, 0.30, "1000/s"),
    Bar("remembered / grpc-go echo", OURS, GO_ECHO, 1.0),
    Bar("remembered / grpc-go echo", OURS, GO_ECHO, 1.0, "1000/s"),
    Bar("remembered / C echo", OURS, C_ECHO, 3.0),
    Bar("remembered / C echo", OURS, C_ECHO, 3.0, "1000/s"),
    Bar("new path / remembered", of(OURS, PATHS), OURS, 2.0),
    Bar("MCP call / remembered, raw headers", of(OURS, CALLS), of(OURS, RAW), 1.6),
    Bar("new token / that of the Go server", of(OURS, TOKENS), of(GO, TOKENS), 1.0),
    Bar("remembered / Go with a token cache", OURS, GO_CACHE, 1.0),
    Bar("new path / Go with a token cache", of(OURS, PATHS), of(GO_CACHE, PATHS), 1.0),
    Bar("remembered, with a store / without", SHARED, OURS, 1.02),
    Bar("remembered, with assertions / without", ASSERTING, OURS, 1.03),
    Bar("remembered / before", OURS, BEFORE, 1.02),
)
# No bars: what else one may want to know of the same run.
OTHERS: Final = (
    Bar("MCP call / Go with a token cache", of(OURS, CALLS), of(GO_CACHE, CALLS), 0),
    Bar("new path / ours on grpcio", of(OURS, PATHS), of(GRPCIO, PATHS), 0),
    Bar("new token / ours on grpcio", of(OURS, TOKENS), of(GRPCIO, TOKENS), 0),
    Bar("new principal / new token", of(OURS, PRINCIPALS), of(OURS, TOKENS), 0),
    Bar("MCP call / ours on grpcio", of(OURS, CALLS), of(GRPCIO, CALLS), 0),
    Bar("remembered / bare echo on our transport", OURS, "bare", 0),
    Bar("remembered / stock grpcio echo", OURS, "stock", 0),
    Bar("remembered / the same on stock grpcio", OURS, "ours-stock", 0),
)


def bars(
    run: Run, raw_us: float, starts: Starts, *, start_cpu_seconds: float, rest_mb: float
) -> list[str]:
    """Return the table of bars; ``raw_us`` is a verification of ES256 by the library alone."""
    lines = ["| bar | load | measured | at most |", "|---|---|---|---|"]
    rows = [
        *((bar.text, bar.mode, bar.measure(run), bar.most) for bar in BARS),
        *_further(run, raw_us),
        ("CPU from start to ready, s", "", start_cpu_seconds, 0.6),
        ("memory at rest, MB", "", rest_mb, 60.0),
        *starts.rows(),
    ]
    lines.extend(_row(*row) for row in rows)
    others = [*OTHERS, *(_elsewhere(bar) for bar in BARS if bar.mode == "32")]
    lines += ["", "| other ratio | load | measured |", "|---|---|---|"]
    known = [(bar, value) for bar in others if (value := bar.measure(run)) is not None]
    lines.extend(f"| {bar.text} | {bar.mode} | {value:.2f} |" for bar, value in known)
    return lines


def _elsewhere(bar: Bar) -> Bar:
    """Return a bar at one at a time, for which the issue sets none in most rows."""
    return Bar(bar.text, bar.top, bar.bottom, 0, "one")


def _further(run: Run, raw_us: float) -> Iterator[tuple[str, str, float | None, float]]:
    """Yield the bars that are no plain ratio of two cells."""
    known = run.cell(OURS, "32").cpu
    new = run.cell(of(OURS, TOKENS), "32").cpu
    yield "(new token - raw verification) / remembered", "32", (new - raw_us) / known, 3.0
    yield "through Envoy, added p50 / C echo's", "one", _added(run, "p50"), 1.15
    yield "through Envoy, added p99 / C echo's", "one", _added(run, "p99"), 1.5
    yield from recording_rows(run)


def recording_rows(run: Run) -> Iterator[tuple[str, str, float, float]]:
    """Yield the parts of a remembered check that recording it takes, without and with a chain."""
    for server, what in ((SWITCHED, "metrics and audit"), (CHAINED, "metrics, audit and chain")):
        share = 1 - 1 / run.ratio(of(server, "recorded"), of(server, "silent"))
        yield f"{what}, part of a remembered check", "32", share, 0.05


def sharing_rows(run: Run) -> Iterator[tuple[str, str, float, float]]:
    """Yield what a remembered check costs with a store, as a multiple of one without."""
    yield "remembered, with a store / without", "32", run.ratio(SHARED, OURS, "32"), 1.02


def asserting_rows(run: Run) -> Iterator[tuple[str, str, float, float]]:
    """Yield what a remembered check costs with an assertion, as a multiple of one without."""
    yield "remembered, with assertions / without", "32", run.ratio(ASSERTING, OURS, "32"), 1.03


def _added(run: Run, part: str) -> float | None:
    """Return what we add to Envoy's latency, as a multiple of what an echo in C adds."""
    try:
        cells = [run.cell(f"Envoy, {name}", "one") for name in ("alone", OURS, C_ECHO)]
    except KeyError:
        return None
    alone, ours, echo = (float(getattr(cell, part)) for cell in cells)
    return (ours - alone) / (echo - alone)


def _row(text: str, mode: str, value: float | None, most: float) -> str:
    if value is None:
        return f"| {text} | {mode} | left out | {most:.2f} |"
    missed = " **missed**" if value > most else ""
    return f"| {text} | {mode} | {value:.2f}{missed} | {most:.2f} |"
