"""``make fuzz``: every target for some time, with progress; an input that breaks one is kept."""

import argparse
import logging
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from fuzz.targets import FUZZED, TARGETS, Lab
from support.world import World

BATCH = 500  # examples between two looks at the clock
FOUND = Path(__file__).parent / "found"
QUIET = tuple(HealthCheck)


def run_target(lab: Lab, name: str, seconds: float, first_seed: int) -> Counter[str]:
    """Run one target for some seconds; how often each answer came. Raises what it finds."""
    answers: Counter[str] = Counter()
    end = time.monotonic() + seconds
    batch = 0
    while time.monotonic() < end:
        _run_batch(lab, name, first_seed + batch, answers)
        batch += 1
        _tell(name, answers, end - time.monotonic())
    print()
    return answers


def _run_batch(lab: Lab, name: str, number: int, answers: Counter[str]) -> None:
    @seed(number)
    @settings(
        max_examples=BATCH,
        deadline=None,
        database=None,
        suppress_health_check=QUIET,
        phases=(Phase.generate, Phase.shrink),
    )
    @given(st.data())
    def examples(data: st.DataObject) -> None:
        answers[TARGETS[name](lab, data.draw)] += 1

    examples()


def _tell(name: str, answers: Counter[str], left: float) -> None:
    common = ", ".join(f"{reason} {count}" for reason, count in answers.most_common(4))
    line = f"{name:14} {answers.total():8} runs, {max(0, left):4.0f} s left: {common}"
    print(f"\r{line:100.100}", end="", flush=True)


def main() -> int:
    """Fuzz; 1 when something was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for all targets (%(default)s)")
    parser.add_argument("--target", choices=TARGETS, action="append", help="repeatable; all")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the first batch")
    options = parser.parse_args()
    names = options.target or list(TARGETS)
    logging.disable()  # what is no check is logged, thousands of times
    print(f"seed {options.seed}")
    with tempfile.TemporaryDirectory() as folder, World(Path(folder), FUZZED) as world:
        for name in names:
            try:
                run_target(Lab.of(world), name, options.seconds / len(names), options.seed)
            except Exception as error:  # noqa: BLE001 - whatever it is, it was found
                FOUND.mkdir(exist_ok=True)
                path = FOUND / f"{name}-{options.seed}.txt"
                path.write_text(f"{type(error).__name__}: {error}\n")
                print(f"\nFOUND by {name}: {type(error).__name__}; see {path}", file=sys.stderr)
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
