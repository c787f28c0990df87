"""Checks the files and folders that a server writes.

That it can write them, and reads none of them.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from authz.config import Config, Place, dotted
from authz.core.settings import LaterFile, NamedFile
from authz.review.config_check.file_checks import is_folder, named_files

Found = Iterator[tuple[Place, str]]
_STANDARD_OUTPUT: Final = "-"
_AUDIT: Final[Place] = ("audit", "path")


def written_problems(config: Config) -> Found:
    """Yield why the audit log can't be a file of its own."""
    if config.audit.path == _STANDARD_OUTPUT:
        return
    path = Path(config.audit.path)
    if is_folder(path):
        yield _AUDIT, f"{path} is a folder: name a file in it"
    for mark in (NamedFile, LaterFile):
        for place, name in named_files(config, mark):
            if is_same_file(path, Path(name)):
                yield _AUDIT, f"{path} is also {dotted(place)}: records would be added to it"


def written_warnings(config: Config) -> Found:
    """Yield each place where this user can't write; the server may run as another."""
    if config.audit.path != _STANDARD_OUTPUT:
        path = Path(config.audit.path)
        yield from ((_AUDIT, why) for why in _unwritable(path if _is_there(path) else path.parent))
    if config.key_cache.folder is not None:
        folder = Path(config.key_cache.folder)
        yield from ((("key_cache", "folder"), why) for why in _unwritable(folder))


def _unwritable(path: Path) -> Iterator[str]:
    needed = os.W_OK | os.X_OK if is_folder(path) else os.W_OK
    if _is_there(path) and not os.access(path, needed, effective_ids=True):
        yield f"{path} can't be written by this user; the server's has to"


def _is_there(path: Path) -> bool:
    return os.access(path, os.F_OK, effective_ids=True)


def is_same_file(one: Path, other: Path) -> bool:
    """Tell whether two paths lead to one file, which exists."""
    try:
        return one.samefile(other)
    except OSError:
        return False
