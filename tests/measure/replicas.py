"""Measures what replicas share through a store: revocations, proofs, and what a lost store costs.

``make replicas REVOCATIONS=1000 PROOFS=10000 AWAY=30`` runs it; tests/e2e/test_replicas.py does the
same in short, without its times.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

from lab.config_builder import LAB
from lab.dpop import DpopClient
from support.replicas import Replicas


def _percentile(values: list[float], share: float) -> float:
    return sorted(values)[int(len(values) * share)]


def _told(what: str, values: list[float]) -> str:
    ms = [1e3 * value for value in values]
    middle, late = median(ms), _percentile(ms, 0.99)
    return f"{what}: {len(ms)}, median {middle:.2f} ms, p99 {late:.2f} ms, most {max(ms):.2f} ms"


def _measure_revocations(replicas: Replicas, times: int) -> None:
    with replicas.load() as load:
        seconds = [replicas.seconds_to_revoke(f"revoked-{number}") for number in range(times)]
    print(_told("revocations, until no worker allows", seconds), f"load {dict(load.statuses)}")


def _measure_proofs(replicas: Replicas, times: int) -> None:
    found = replicas.pass_once(replicas.proven(DpopClient()), times)
    print(f"one proof sent {times} times: {dict(found)}")


def _compare(replicas: Replicas, what: str, seconds: float, *, rounds: int = 5) -> None:
    """Print p99 of remembered checks with the store in some state, and without, in turns."""
    begin, end = _states(replicas)[what]
    calm: list[float] = []
    troubled: list[float] = []
    for _ in range(rounds):
        calm += replicas.remembered_seconds(seconds / rounds)
        begin()
        troubled += replicas.remembered_seconds(seconds / rounds)
        end()
    ratio = _percentile(troubled, 0.99) / _percentile(calm, 0.99)
    print(_told("remembered, store there", calm))
    print(_told(f"remembered, store {what}", troubled), f"ratio of p99 {ratio:.2f}", flush=True)


def _states(replicas: Replicas) -> dict[str, tuple[Callable[[], None], Callable[[], None]]]:
    """Return how each state of the store begins and ends."""
    return {
        "slow": (lambda: _delay(replicas, 0.3), lambda: _delay(replicas, 0.0)),
        "hanging": (replicas.between.hang, replicas.between.resume),
        "refusing": (replicas.between.refuse, replicas.between.resume),
        "killed": (replicas.redis.kill, replicas.redis.start),
    }


def _delay(replicas: Replicas, seconds: float) -> None:
    replicas.between.delay_seconds = seconds


def main() -> int:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--revocations", type=int, default=100)
    parser.add_argument("--proofs", type=int, default=1000)
    parser.add_argument("--away", type=float, default=10.0, help="seconds")
    options = parser.parse_args()
    away = LAB.with_yaml(("revocations",), "{when_away: serve}")
    with tempfile.TemporaryDirectory() as folder, Replicas(Path(folder), away) as replicas:
        _measure_revocations(replicas, options.revocations)
        _measure_proofs(replicas, options.proofs)
        for what in ("slow", "hanging", "refusing"):
            _compare(replicas, what, options.away)
        _compare(replicas, "killed", options.away, rounds=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
