"""``make bench``: what a check costs, in ratios between servers that take turns in one run.

Clocks of virtual machines drift by half and more from minute to minute. So every server is running
all the time, they are asked in random order in each round, and a number is the median over rounds:
compare within one run only. Servers have the first core, the load the second.
"""

import argparse
import json
import os
import platform
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from bench import echo, inside, start
from bench.bars import (
    CALLS,
    PATHS,
    PRINCIPALS,
    RAW,
    TOKENS,
    asserting_rows,
    bars,
    of,
    recording_rows,
    sharing_rows,
)
from bench.loads import Load
from bench.measure import Run, cpu_seconds
from bench.messages import Maker
from bench.servers import (
    ALGORITHMS,
    ASSERTING,
    CHAINED,
    GO,
    GO_CACHE,
    GRPCIO,
    OURS,
    SHARED,
    SWITCHED,
    Bench,
)
from bench.through_envoy import through_envoy

PAIRS: Final = 60
SETTLE_SECONDS: Final = 0.25  # for the records of before to be written
RECORDED: Final = 20_000  # checks of such a turn: a second or more, so that most are written in it
COUNTS: Final = {"one": 2000, "32": 16000, "1000/s": 2000}
# At 1000 new tokens a second a server that is not fast enough refuses some, and that is no result.
COLD_COUNTS: Final = {"one": 600, "32": 2000, "300/s": 600}


@dataclass(frozen=True)
class Turn:
    """One server under one load, asked for one thing."""

    name: str
    server: str
    mode: str
    make: Maker
    count: int


def turns(bench: Bench) -> Iterator[Turn]:
    """Yield all turns of a round."""
    messages, issuers = bench.messages, bench.issuers
    known = messages.remembered()
    whole: list[str] = [
        server for server in (OURS, GRPCIO, GO, GO_CACHE) if server in bench.addresses
    ]
    work: list[tuple[str, Maker, list[str], dict[str, int]]] = [
        (RAW, messages.remembered(raw=True), [OURS], COUNTS),
        (PATHS, messages.new_paths(), whole, COUNTS),
        (CALLS, messages.calls(), whole, COUNTS),
        (TOKENS, messages.new_tokens(issuers["ES256"]), whole, COLD_COUNTS),
    ]
    for server in bench.addresses:
        if server not in {SWITCHED, CHAINED}:
            for mode, count in COUNTS.items():
                yield Turn(server, server, mode, known, count)
    for what, make, servers, counts in work:
        for server in servers:
            for mode, count in counts.items():
                yield Turn(of(server, what), server, mode, make, count)
    others = messages.new_principals(issuers["ES256"])
    yield Turn(of(OURS, PRINCIPALS), OURS, "32", others, COLD_COUNTS["32"])
    for name in ALGORITHMS:
        if name != "ES256":
            make = messages.new_tokens(issuers[name])
            yield Turn(of(OURS, f"cold {name}"), OURS, "32", make, COLD_COUNTS["32"])


def measure(bench: Bench, run: Run) -> None:
    """Give everybody a turn in each round."""
    for number in range(run.rounds):
        print(f"round {number + 1} of {run.rounds} ...", file=sys.stderr, flush=True)
        all_turns = list(turns(bench))
        for turn in random.sample(all_turns, len(all_turns)):
            take(bench, run, turn)
        for name in ALGORITHMS:  # in each round, because the clock drifts
            run.raw_us.setdefault(name, []).append(inside.raw_verify_us(name))


def recording(bench: Bench, run: Run) -> None:
    """What metrics, audit and its chain cost: turns of one process, with them and without."""
    for _ in range(max(4, int(PAIRS * run.scale))):
        for server in random.sample([SWITCHED, CHAINED], 2):
            _pair(bench, run, server)


def sharing(bench: Bench, run: Run) -> None:
    """What a store costs a remembered check: turns of a server with one, and of one without."""
    _beside_ours(bench, run, SHARED)


def asserting(bench: Bench, run: Run) -> None:
    """What an assertion costs a remembered check, likewise."""
    _beside_ours(bench, run, ASSERTING)


def _beside_ours(bench: Bench, run: Run, other: str) -> None:
    known = bench.messages.remembered()
    for _ in range(max(4, int(PAIRS * run.scale))):
        for server in random.sample([OURS, other], 2):
            take(bench, run, Turn(server, server, "32", known, COUNTS["32"]))


def _pair(bench: Bench, run: Run, server: str) -> None:
    """Give a server a short turn that is recorded, and one that is not; it ends recording."""
    known = bench.messages.remembered()
    for name in random.sample(["recorded", "silent"], 2):
        if name == "silent":
            os.kill(bench.pids[server], echo.SILENT)
            time.sleep(SETTLE_SECONDS)
        take(bench, run, Turn(of(server, name), server, "32", known, int(RECORDED / run.scale)))
        if name == "silent":
            os.kill(bench.pids[server], echo.RECORDED)
        time.sleep(SETTLE_SECONDS)


def take(bench: Bench, run: Run, turn: Turn) -> None:
    """Take a turn. Raises LoadError if a check was not allowed."""
    pid, clock = bench.pids[turn.server], [0.0]

    def begin() -> None:
        clock[0] = cpu_seconds(pid)

    count = max(100, int(turn.count * run.scale))
    address, load = bench.addresses[turn.server], Load.parse(turn.mode)
    result = bench.generator(address, turn.make, count, load, begin)
    run.note(turn.name, turn.mode, result, cpu_seconds(pid) - clock[0])


def report(run: Run, bench: Bench, notes: list[str]) -> str:
    """Return the tables, in Markdown."""
    lines = [
        f"{platform.system()}, {os.cpu_count()} cores, Python {platform.python_version()};",
        f"{run.rounds} rounds; checks of {len(bench.messages.one())} bytes.",
        *(f"Left out: {what}." for what in bench.left_out),
        "",
        "| server | load | CPU a check, us | p50 us | p99 us | p99.9 us | a second |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, mode in sorted(run.samples):
        cell = run.cell(name, mode)
        lines.append(
            f"| {name} | {mode} | {cell.cpu:.1f} | {cell.p50:.0f} | {cell.p99:.0f} "
            f"| {cell.p999:.0f} | {cell.per_second:.0f} |"
        )
    return "\n".join([*lines, "", *notes])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="part of the requests")
    parser.add_argument("--json", type=Path, help="also write the cells to this file")
    parser.add_argument(
        "--recording", action="store_true", help="only what metrics, audit and its chain cost"
    )
    parser.add_argument("--sharing", action="store_true", help="only what a store costs")
    parser.add_argument(
        "--assert", action="store_true", dest="asserting", help="only what assertions cost"
    )
    parser.add_argument("--inside", action="store_true", help="only what needs no server")
    parser.add_argument(
        "--before", type=Path, metavar="CHECKOUT", help="another checkout, measured in the same run"
    )
    return parser.parse_args()


def _with_servers(options: argparse.Namespace) -> None:
    run = Run(options.rounds, options.scale)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        bench = Bench(Path(folder), stack, options.before)
        measure(bench, run)
        recording(bench, run)
        through_envoy(bench, run, stack)
        raw = {name: statistics.median(values) for name, values in run.raw_us.items()}
        verify = ", ".join(f"{name} {value:.1f}" for name, value in raw.items())
        starts = start.measure(bench.server.admin.removeprefix("http://"))
        until_ready, rest = bench.start_cpu_seconds, bench.rest_mb
        notes = [
            *bars(run, raw["ES256"], starts, start_cpu_seconds=until_ready, rest_mb=rest),
            "",
            f"Raw signature verification, us: {verify}.",
            f"From start to ready: {bench.start_seconds:.2f} s.",
            starts.note(),
        ]
        print(report(run, bench, notes))
    if options.json:
        cells = {f"{n}|{m}": asdict(run.cell(n, m)) for n, m in run.samples}
        options.json.write_text(json.dumps(cells, indent=1) + "\n")


def _alone(
    options: argparse.Namespace,
    part: Callable[[Bench, Run], None],
    rows: Callable[[Run], Iterable[tuple[str, str, float, float]]],
) -> None:
    """Run one part of the bench, and print its rows."""
    run = Run(options.rounds, options.scale)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        bench = Bench(Path(folder), stack)
        part(bench, run)
        notes = [f"{text}: {value:.3f}, at most {most}." for text, _, value, most in rows(run)]
        print(report(run, bench, notes))


def main() -> None:
    """Measure, and print."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are stopped too
    options = _options()
    if options.recording:
        _alone(options, recording, recording_rows)
        return
    if options.sharing:
        _alone(options, sharing, sharing_rows)
        return
    if options.asserting:
        _alone(options, asserting, asserting_rows)
        return
    if not options.inside:
        _with_servers(options)
    print("\n" + "\n".join(inside.report(options.scale)))


if __name__ == "__main__":
    main()
