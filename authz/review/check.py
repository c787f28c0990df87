"""``authz check``: checks a config and the files that it names, and warns of likely mistakes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from authz.config import Config, ConfigError, ConfigFiles, Place, Problem, load
from authz.review.file_checks import file_problems, file_warnings
from authz.review.lint import config_warnings


@dataclass(frozen=True, slots=True)
class CheckedConfig:
    """A valid config, and the warnings for its operator."""

    config: Config
    warnings: tuple[Problem, ...]


def check_config(source: Path | ConfigFiles, now: datetime) -> CheckedConfig:
    """Check a config, its candidate and its files. Raises ConfigError with every problem."""
    files = source if isinstance(source, ConfigFiles) else ConfigFiles(source)
    config = load(files)
    problems = [*_placed(files, file_problems(config)), *_of_candidate(config)]
    if problems:
        raise ConfigError(str(files.main), problems)
    warnings = [*file_warnings(config), *config_warnings(config, now)]
    return CheckedConfig(config, tuple(_placed(files, warnings)))


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
