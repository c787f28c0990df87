"""``authz check``: a config, the files that it names, and what in it may not be meant."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from authz.config import Config, ConfigError, ConfigFiles, Problem, load
from authz.review.doubts import doubts
from authz.review.namedfiles import file_problems


@dataclass(frozen=True, slots=True)
class Checked:
    """A config that a server can use, and what its operator should look at."""

    config: Config
    warnings: tuple[Problem, ...]


def checked(path: Path, now: datetime) -> Checked:
    """Check all that a config says and names. Raises ConfigError with every problem."""
    files = ConfigFiles(path)
    config = load(files)
    merged = files.read()
    problems = [merged.problem(place, message) for place, message in file_problems(config)]
    problems += _of_candidate(config)
    if problems:
        raise ConfigError(str(path), problems)
    found = [merged.problem(place, message) for place, message in doubts(config, now)]
    return Checked(config, tuple(found))


def _of_candidate(config: Config) -> Iterator[Problem]:
    if config.candidate is not None and Path(config.candidate).is_file():
        try:
            load(Path(config.candidate))
        except ConfigError as error:
            yield from error.problems
