"""Checks the files that a config names: that they can be read, and hold what they should."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, get_args

from authz.adapters.audit.settings import written_files
from authz.adapters.fetched import FetchError
from authz.adapters.files import read_between
from authz.adapters.revocation_file.settings import NEW_FILE
from authz.config import Config, Place, dotted
from authz.core.settings import LaterFile, NamedFile, Settings
from authz.core.told_error import ToldError
from authz.review.config_check.file_contents import contents, key_folder_problem
from authz.review.config_check.signing_lint import signers

_CURES: Final[dict[Place, str]] = {
    ("revocations", "file"): f"; {NEW_FILE}",
    ("consents", "file"): f"; {NEW_FILE}",
    ("audit", "chain", "key"): "; authz audit key makes it",
    ("audit", "redact", "key_file"): "; make it from /dev/urandom, with 32 bytes or more",
}

_LATER: Final = "; it has to be there when it is served"


def file_problems(config: Config) -> Iterator[tuple[Place, str]]:
    """Yield the place of each file that can't be used, and why."""
    unread = dict(_unread(config, NamedFile))
    yield from unread.items()
    unread |= _unread(config, LaterFile)
    for place, file in written_files(config.audit):
        if not is_folder(folder := file.parent):
            yield ("audit", *place), f"there is no folder {folder}{_from(folder)}"
    keys = config.key_cache.folder
    if keys is not None and (problem := key_folder_problem(Path(keys))):
        yield ("key_cache", "folder"), problem + _from(keys)
    for place, read in contents(config):
        if not any(other[: len(place)] == place for other in unread):
            try:
                read()
            except (FetchError, ToldError) as error:
                # At start there is no line to name, so the words begin with the place.
                key = getattr(error, "key", "")  # a TlsError names the setting within the section
                exact = (*place, key) if key else place
                words = str(error).removeprefix(dotted(exact)).removeprefix(str(exact[-1]))
                yield exact, words.lstrip(".: ")


def is_folder(path: Path) -> bool:
    """Tell whether a path is a folder that this user can see. Never raises, as ``is_dir`` does."""
    try:
        return path.is_dir()
    except OSError:
        return False


def file_warnings(config: Config) -> Iterator[tuple[Place, str]]:
    """Yield the place of each file that can't be read here, but perhaps where the server runs."""
    made = _made(config)
    for place, why in _unread(config, LaterFile):
        if place not in made:
            yield place, f"{why}; it has to be there when the server runs"
        elif not is_folder(folder := made[place].parent):
            yield place, f"there is no folder {folder}{_from(folder)}, in which the key is made"


def missing_files(config: Config) -> Iterator[tuple[Place, str]]:
    """Yield the place of each file, or folder to write in, that this machine lacks, and so say."""
    made = _made(config)
    for place, path in (*named_files(config, NamedFile), *named_files(config, LaterFile)):
        if _is_missing(path) and place not in made:
            yield place, f"{path} is missing here{_from(path)}{_LATER}"
    for place, folder in _folders(config):
        if _is_missing(folder):
            yield place, f"there is no folder {folder} here{_from(folder)}{_LATER}"


def _folders(config: Config) -> Iterator[tuple[Place, Path]]:
    """Yield each folder in which the server makes files, or its own folder."""
    for place, file in written_files(config.audit):
        yield ("audit", *place), file.parent
    if config.key_cache.folder is not None:
        yield ("key_cache", "folder"), Path(config.key_cache.folder).parent
    yield from ((place, file.parent) for place, file in _made(config).items())


def _made(config: Config) -> dict[Place, Path]:
    """Return the files of keys that a start makes, unless something is there."""
    files = ((name, settings.make) for name, settings in signers(config))
    return {(name, "make"): Path(file) for name, file in files if file and _is_missing(file)}


def _is_missing(path: str | Path) -> bool:
    """Tell whether nothing has this path; a file that can't be read is there."""
    try:
        Path(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _unread(config: Config, mark: type) -> Iterator[tuple[Place, str]]:
    """Yield the place of each file of a mark that can't be read, and why."""
    for place, path in named_files(config, mark):
        try:
            read_between(path, 1)
        except OSError as error:
            cure = _CURES.get(place, "") if isinstance(error, FileNotFoundError) else ""
            yield place, f"{path} can't be read{_from(path)}: {error.strerror}{cure}"


def _from(path: str | Path) -> str:
    return "" if Path(path).is_absolute() else f" in {Path.cwd()}, which relative paths start from"


def named_files(section: Settings, mark: type, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """Yield each place of a file in a section, and the file; the setting's type has the mark."""
    for name, field in type(section).model_fields.items():
        value, here = getattr(section, name), (*place, name)
        if isinstance(value, Settings):
            yield from named_files(value, mark, here)
        elif isinstance(value, tuple):
            for at, item in enumerate(value):
                if isinstance(item, Settings):
                    yield from named_files(item, mark, (*here, at))
        elif isinstance(value, str) and _is_marked([*field.metadata, field.annotation], mark):
            yield here, value


def _is_marked(annotations: list[object], mark: type) -> bool:
    """Tell whether a setting, which may be None or not, has the mark in its type."""
    parts = [part for one in annotations for part in get_args(one)]
    marks = [at for part in parts for at in getattr(part, "__metadata__", ())]
    return any(isinstance(at, mark) for at in [*annotations, *marks])
