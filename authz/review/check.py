"""``authz check``: checks a config and the files that it names, and warns of likely mistakes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from authz.config import Config, ConfigError, ConfigFiles, Place, Problem, load
from authz.review.file_checks import file_problems, file_warnings
from authz.review.lint import config_warnings
from authz.review.starter_lint import starter_warnings


@dataclass(frozen=True, slots=True)
class CheckedConfig:
    """A valid config, and what its operator should know.

    Attributes:
        config: the config.
        warnings: what is valid, and probably not meant.
        notes: what is missing here, and may well be there when the config is served.
        unchecked: what was not looked at, "" for nothing.
    """

    config: Config
    warnings: tuple[Problem, ...]
    notes: tuple[Problem, ...] = ()
    unchecked: str = ""


def check_config(path: Path, now: datetime, stdin: bytes | None = None) -> CheckedConfig:
    """Check a config, its candidate and its files. Raises ConfigError with every problem.

    ``stdin`` has the bytes of standard input, if that is the config.
    """
    files = ConfigFiles(path, stdin=stdin)
    config = load(files)
    problems = [*_placed(files, file_problems(config)), *_of_candidate(config)]
    if problems:
        raise ConfigError(str(path), problems)
    found = [*file_warnings(config), *config_warnings(config, now), *starter_warnings(config)]
    return CheckedConfig(config, tuple(_placed(files, found)))


def _placed(files: ConfigFiles, found: Iterable[tuple[Place, str]]) -> list[Problem]:
    """Add files and lines; the config's files are read once more only if there are problems."""
    told = list(found)
    if not told:
        return []
    merged = files.read()
    return [merged.problem(place, message) for place, message in told]


def _of_candidate(config: Config) -> Iterator[Problem]:
    if config.candidate is not None and Path(config.candidate).is_file():
        try:
            load(Path(config.candidate))
        except ConfigError as error:
            yield from error.problems
