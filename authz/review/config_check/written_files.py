"""Checks the files and folders that a server writes.

That it can write them, and reads none of them.
"""

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from authz.config import Config, Place, dotted
from authz.core.settings import LaterFile, NamedFile
from authz.review.config_check.file_checks import is_folder, named_files
from authz.transports.address_faults import UNIX

Found = Iterator[tuple[Place, str]]
_STANDARD_OUTPUT: Final = "-"
_AUDIT: Final[Place] = ("audit", "path")


def written_problems(config: Config, files: Iterable[Path]) -> Found:
    """Yield why the audit log can't be a file of its own; ``files`` are the config's."""
    if config.audit.path == _STANDARD_OUTPUT:
        return
    path = Path(config.audit.path)
    if why := _no_log(path):
        yield _AUDIT, f"{path} is {why}"
    for file in files:
        if is_same_file(path, file):
            yield _AUDIT, f"{path} is also a file of this config: records would be added to it"
    for at, address in enumerate(config.server.listen):
        if address.startswith(UNIX) and _are_alike(path, Path(address.removeprefix(UNIX))):
            yield _AUDIT, f"{path} is also server.listen[{at}]: give each a path of its own"
    for mark in (NamedFile, LaterFile):
        for place, name in named_files(config, mark):
            if is_same_file(path, Path(name)):
                yield _AUDIT, f"{path} is also {dotted(place)}: records would be added to it"


def _no_log(path: Path) -> str:
    """Return what is at a path instead of a log; "" for a file, a device, a pipe, or nothing."""
    if is_folder(path):
        return "a folder: name a file in it"
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if error.errno == errno.ELOOP:
            return "a link that leads to itself"
        is_link = os.path.islink(path)  # noqa: PTH114 - ``is_symlink`` raises in a closed folder
        is_lost = is_link and not is_folder(Path(os.path.realpath(path)).parent)
        return "a link into a folder that is not there" if is_lost else ""
    return "a socket: name a file, or a pipe that somebody reads" if stat.S_ISSOCK(mode) else ""


def _are_alike(one: Path, other: Path) -> bool:
    """Tell whether two paths lead to one place, where nothing may be yet."""
    return os.path.realpath(one) == os.path.realpath(other)


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
