"""The problems of a config: each with its file, its line, and what would be right."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

from authz.config.printable import one_line
from authz.core.told_error import ToldError

MAX_LINES: Final = 200  # problems listed: more would not help, and a log must hold them
MAX_CHARS: Final = 1000  # of a problem's line: a key or a value may have any length


@dataclass(frozen=True, slots=True)
class Problem:
    """A mistake in a config file, for a person: where it is, and what would be right."""

    file: str
    line: int
    place: str
    message: str

    def __str__(self) -> str:
        """Return ``file:line: place: message``, printable and MAX_CHARS at most."""
        place = f"{self.place}: " if self.place else ""
        text = one_line(f"{self.file}:{self.line}: {place}{self.message}")
        return text if len(text) <= MAX_CHARS else f"{text[:MAX_CHARS]}..."

    def members(self, severity: str) -> dict[str, Any]:
        """Return its members for JSON; ``severity`` is error, warning or note."""
        return {**asdict(self), "severity": severity}


def without_repeats(found: Iterable[Problem], told: Iterable[Problem]) -> list[Problem]:
    """Leave out problems whose place is in ``told``: a mistake is reported once."""
    known = {(problem.file, problem.place) for problem in told}
    return [problem for problem in found if (problem.file, problem.place) not in known]


class ConfigError(ToldError):
    """The config can't be used. ``problems`` has every problem, sorted by file and line."""

    def __init__(self, name: str, problems: Iterable[Problem]) -> None:
        """Take the main file's name, whose problems come first, and all problems."""
        self.name = name
        self.problems = sorted(
            dict.fromkeys(problems),
            key=lambda problem: (problem.file != name, problem.file, problem.line),
        )
        super().__init__("\n".join(self.lines()))

    def lines(self) -> Iterator[str]:
        """Yield a line for each problem, MAX_LINES at most, then how many more there are."""
        yield from map(str, self.problems[:MAX_LINES])
        if (more := len(self.problems) - MAX_LINES) > 0:
            yield f"{self.name}: and {more} more problems"

    @classmethod
    def of(cls, name: str, message: str) -> Self:
        """Make the error for a problem with the complete file."""
        return cls(name, [Problem(name, 1, "", message)])
