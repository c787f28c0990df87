"""What is wrong with a config: each problem with its file, its line, and what would be right."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Self

from authz.config.printable import one_line

MAX_LINES: Final = 200  # of problems told one by one: more help nobody, and a log has to hold them
MAX_CHARS: Final = 1000  # of one of them: a key or a value may be of any length


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a config file, for a person: where, and what would be right."""

    file: str
    line: int
    place: str
    message: str

    def __str__(self) -> str:
        """As ``file:line: place: message``."""
        place = f"{self.place}: " if self.place else ""
        text = one_line(f"{self.file}:{self.line}: {place}{self.message}")
        return text if len(text) <= MAX_CHARS else f"{text[:MAX_CHARS]}..."


def without_repeats(found: Iterable[Problem], told: Iterable[Problem]) -> list[Problem]:
    """Without those of a place that has one already: one mistake is told once."""
    known = {(one.file, one.place) for one in told}
    return [one for one in found if (one.file, one.place) not in known]


class ConfigError(Exception):
    """The config can't be used. ``problems`` are all that was found, by file and line."""

    def __init__(self, name: str, problems: Iterable[Problem]) -> None:
        """Take the main file's name, whose problems come first, and all problems."""
        self.name = name
        self.problems = sorted(
            dict.fromkeys(problems), key=lambda one: (one.file != name, one.file, one.line)
        )
        super().__init__("\n".join(self.lines()))

    def lines(self) -> Iterator[str]:
        """Each problem as ``file:line: place: message``; of very many the first ones."""
        yield from map(str, self.problems[:MAX_LINES])
        if (more := len(self.problems) - MAX_LINES) > 0:
            yield f"{self.name}: and {more} more problems"

    @classmethod
    def of(cls, name: str, message: str) -> Self:
        """One problem with the file as a whole."""
        return cls(name, [Problem(name, 1, "", message)])
