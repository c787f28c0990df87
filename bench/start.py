"""What a command's start costs: its CPU, beside that of an interpreter that does nothing.

The commands take turns in random order, and a number is the median over the rounds: clocks drift.
"""

import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from compileall import compile_dir
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import authz

ROUNDS: Final = 15
NOTHING: Final = ("-c", "pass")
ROOT: Final = Path(__file__).parents[1]


@dataclass(frozen=True)
class StartBar:
    """A command, and the most CPU that it may take, in seconds.

    Attributes:
        is_above: whether the bar is for what it takes more than NOTHING.
    """

    name: str
    arguments: tuple[str, ...]
    most: float
    is_above: bool = True

    @property
    def text(self) -> str:
        """The bar's name in the table."""
        return f"{self.name}, CPU{' above python -c pass' if self.is_above else ''}, s"


def start_bars(config: Path, admin: str) -> tuple[StartBar, ...]:
    """Return the bars, for a config to check, and a server's admin address."""
    return (
        StartBar("authz --version", ("--version",), 0.15),
        StartBar("authz health", ("health", admin), 0.15),
        StartBar("authz check of the README's config", ("check", str(config)), 0.6, is_above=False),
    )


@dataclass(frozen=True)
class Starts:
    """The median CPU of each command, by its bar's text, and of NOTHING, by no text; in seconds."""

    bars: tuple[StartBar, ...]
    medians: dict[str, float]

    def rows(self) -> Iterator[tuple[str, str, float | None, float]]:
        """Yield the rows of the table of bars: text, load, what was measured, and at most."""
        for bar in self.bars:
            less = self.medians[""] if bar.is_above else 0.0
            yield bar.text, "", self.medians[bar.text] - less, bar.most

    def note(self) -> str:
        """Return each command's CPU as a multiple of that of NOTHING."""
        nothing = self.medians[""]
        ratios = (f"{bar.name} {self.medians[bar.text] / nothing:.1f}" for bar in self.bars)
        return f"CPU of commands as multiples of python -c pass: {', '.join(ratios)}."


def written_config(folder: Path) -> Path:
    """Have ``authz init`` write a folder with the config that the README shows; return it."""
    command = [sys.executable, "-m", "authz", "init", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return folder / "authz.yaml"


def cpu_of(arguments: Sequence[str]) -> float:
    """Run the interpreter with arguments, and return the CPU that it took, in seconds."""
    null = subprocess.DEVNULL
    process = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, stdout=null, stderr=null)
    _, process.returncode, usage = os.wait4(process.pid, 0)
    return usage.ru_utime + usage.ru_stime


def measure(admin: str, rounds: int = ROUNDS) -> Starts:
    """Run each command in each round; ``authz health`` asks the server at ``admin``."""
    compile_dir(Path(authz.__file__).parent, quiet=1)  # as an installer does
    with tempfile.TemporaryDirectory() as folder:
        bars = start_bars(written_config(Path(folder) / "try"), admin)
        commands = {bar.text: ("-m", "authz", *bar.arguments) for bar in bars} | {"": NOTHING}
        taken: dict[str, list[float]] = {text: [] for text in commands}
        for _ in range(rounds):
            for text in random.sample(list(commands), len(commands)):
                taken[text].append(cpu_of(commands[text]))
    return Starts(bars, {text: statistics.median(values) for text, values in taken.items()})
