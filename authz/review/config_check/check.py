"""``authz check``: checks a config and the files that it names, and warns of likely mistakes."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from authz.config import Config, ConfigError, ConfigFiles, Place, Problem, load
from authz.config.problems import without_repeats
from authz.review.config_check.address_lint import address_problems, socket_notes, socket_warnings
from authz.review.config_check.certificate_files import certificate_files
from authz.review.config_check.file_access_lint import access_warnings
from authz.review.config_check.file_checks import file_problems, file_warnings, missing_files
from authz.review.config_check.lint import config_warnings
from authz.review.config_check.start_checks import start_problems
from authz.review.config_check.starter_lint import starter_warnings
from authz.review.config_check.store_lint import store_problems
from authz.review.config_check.url_checks import url_problems
from authz.review.config_check.written_files import is_same_file, written_problems, written_warnings
from authz.transports.address_faults import UNIX


@dataclass(frozen=True, slots=True)
class CheckedConfig:
    """A valid config, and messages for its operator.

    Attributes:
        config: the config.
        warnings: settings that are valid, and probably not meant.
        notes: things that are missing here, and may exist where the config is served.
        unchecked: checks that were not made, in words; "" for none.
    """

    config: Config
    warnings: tuple[Problem, ...]
    notes: tuple[Problem, ...] = ()
    unchecked: str = ""


def check_config(
    path: Path, now: datetime, stdin: bytes | None = None, *, is_elsewhere: bool = False
) -> CheckedConfig:
    """Check a config, its candidate and its files. Raises ConfigError with every problem.

    ``stdin`` has the bytes of standard input, if that is the config. With ``is_elsewhere`` the
    server runs on another machine: a file that is missing here is a note.
    """
    files = ConfigFiles(path, stdin=stdin)
    config = load(files)
    missing = dict(missing_files(config)) if is_elsewhere else {}
    found = [*address_problems(config), *url_problems(config), *file_problems(config)]
    found += store_problems(config)
    found += written_problems(config, files.paths)
    problems = [*_placed(files, _here(found, missing)), *_of_candidate(config)]
    at_start = _here(start_problems(config), missing)
    problems += without_repeats(_placed(files, at_start), problems)
    if problems:
        raise ConfigError(str(path), problems)
    warnings = [
        *config_warnings(config, now),
        *_certificate_warnings(config, now),
        *_candidate_warnings(config, path),
        *socket_warnings(config),
        *written_warnings(config),
        *file_warnings(config),
        *access_warnings(config, path),
        *starter_warnings(config),
    ]
    return CheckedConfig(
        config,
        tuple(_placed(files, _here(warnings, missing))),
        tuple(_placed(files, [*socket_notes(config), *missing.items()])),
        _unchecked(config),
    )


def _here(
    found: Iterable[tuple[Place, str]], missing: Mapping[Place, str]
) -> Iterator[tuple[Place, str]]:
    """Leave out what is found of files that are missing here, and are told as notes."""
    return ((place, message) for place, message in found if place not in missing)


def _certificate_warnings(config: Config, now: datetime) -> Iterable[tuple[Place, str]]:
    """Warn about certificates; the modules that read them take long to load."""
    if not any(True for _ in certificate_files(config)):
        return ()
    from authz.review.config_check.certificate_lint import certificate_warnings  # noqa: PLC0415 - see above

    return certificate_warnings(config, now)


def _candidate_warnings(config: Config, path: Path) -> Iterator[tuple[Place, str]]:
    if config.candidate is not None and is_same_file(Path(config.candidate), path):
        yield ("candidate",), "it is this config itself, so that no decision can differ"


def _unchecked(config: Config) -> str:
    """Name the checks that need the network."""
    fetched = any(issuer.keys is not None and not issuer.keys.is_file for issuer in config.issuers)
    asked = config.pdp or any(
        issuer.introspection or issuer.status_list or issuer.exchange for issuer in config.issuers
    )
    bound = any(not address.startswith(UNIX) for address in config.server.listen)
    parts = {
        "issuers' keys (authz keys fetches them)": fetched,
        "other servers": asked,
        "the store (authz store asks it)": config.store is not None,
        "whether ports are free": bound,
    }
    return ", ".join(part for part, is_so in parts.items() if is_so)


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
