"""Warns about files that other users of the machine can read or write, but should not."""

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from authz.config import Config, Place
from authz.config.include import find
from authz.core.settings import LaterFile, NamedFile
from authz.review.config_check.file_checks import named_files

# Keys and secrets that an operator keeps; a platform provides others, such as token_file.
_SECRETS: Final = frozenset(
    {"private_key", "key", "key_file", "client_secret_file", "nonce_secret"}
)


def access_warnings(config: Config, main: Path) -> Iterator[tuple[Place, str]]:
    """Yield the place of each file that others can read or write; ``main`` is the config's own."""
    for path in (main, *_included(config, main)):
        if _is_open(path, stat.S_IWOTH):
            yield () if path == main else ("include",), f"{path}: {_writable()}"
    for mark in (NamedFile, LaterFile):
        for place, name in named_files(config, mark):
            path = Path(name)
            if _is_open(path, stat.S_IWOTH):
                yield place, f"{path}: {_writable()}"
            elif (place[-1] in _SECRETS or _signs(place)) and _is_open(path, stat.S_IROTH):
                yield place, f"{path}: any user of this machine can read it: chmod o-r"


def _signs(place: Place) -> bool:
    """Tell whether a place names the file of a key that signs our own tokens."""
    return place[1:2] + place[3:] == ("keys", "file") or place[1:] == ("make",)


def _included(config: Config, main: Path) -> list[Path]:
    try:
        return [Path(name) for name in find(main, main.stat(), config.include)[0]]
    except OSError:
        return []


def _writable() -> str:
    return "any user of this machine can write it, and so decide what is allowed: chmod o-w"


def _is_open(path: Path, permission: int) -> bool:
    """Tell whether others have a permission to a file, and to reach it."""
    try:
        real = path.resolve(strict=True)
        is_reached = all(folder.stat().st_mode & stat.S_IXOTH for folder in real.parents)
        status = real.stat()
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and is_reached and bool(status.st_mode & permission)
