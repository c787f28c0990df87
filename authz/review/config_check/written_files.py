"""Checks the files and folders that a server writes.

That it can write them, and reads none of them.
"""

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from authz.adapters.audit.settings import spool_folders, written_files
from authz.config import Config, Place, dotted
from authz.core.settings import LaterFile, NamedFile
from authz.review.config_check.file_checks import is_folder, named_files
from authz.transports.address_faults import UNIX

Found = Iterator[tuple[Place, str]]


def written_problems(config: Config, files: Iterable[Path]) -> Found:
    """Yield why a file of the audit log can't be its own; ``files`` are the config's."""
    known = [("a file of this config", file) for file in files]
    for mark in (NamedFile, LaterFile):
        known += [(dotted(place), Path(name)) for place, name in named_files(config, mark)]
    written = [(("audit", *place), path) for place, path in written_files(config.audit)]
    for at, (place, path) in enumerate(written):
        if why := _no_log(path):
            yield place, f"{path} is {why}"
        for what, file in known:
            if is_same_file(path, file):
                yield place, f"{path} is also {what}: records would be added to it"
        for number, address in enumerate(config.server.listen):
            if address.startswith(UNIX) and _are_alike(path, Path(address.removeprefix(UNIX))):
                yield place, f"{path} is also server.listen[{number}]: give each a path of its own"
        for other, earlier in written[:at]:
            if _are_alike(path, earlier):
                yield place, f"{path} is also {dotted(other)}: give each a path of its own"
    yield from _shared_entries(config, known)
    yield from _shared_spools(config)


def _shared_entries(config: Config, known: Iterable[tuple[str, Path]]) -> Found:
    """Find files that commands add lines to, and that something else reads: it would be spoilt."""
    for section, verb, others in (
        ("revocations", "revoke", {"revocations.file", "consents.file"}),
        ("consents", "consent", {"consents.file"}),
    ):
        file = getattr(config, section).file
        for what, other in known if file is not None else ():
            if what not in others and is_same_file(Path(file), other):
                message = f"{file} is also {what}: `authz {verb}` would add lines to it"
                yield (section, "file"), message


def _shared_spools(config: Config) -> Found:
    spools = [(("audit", *place), folder) for place, folder in spool_folders(config.audit)]
    for at, (place, folder) in enumerate(spools):
        nearest = _nearest(folder)
        if not is_folder(nearest):
            yield place, f"{nearest} is not a folder: name one that only this spool uses"
        for other, earlier in spools[:at]:
            if _are_alike(folder, earlier):
                yield (
                    place,
                    f"{folder} is also {dotted(other)}: give each spool a folder of its own",
                )


def _no_log(path: Path) -> str:
    """Return what is at a path instead of a log; "" for a file, a device, a pipe, or nothing."""
    if is_folder(path):
        return "a folder: name a file in it"
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if error.errno == errno.ELOOP:
            return "a link that leads to itself"
        if error.errno == errno.ENAMETOOLONG:
            return "too long for a path: shorten it"
        is_link = os.path.islink(path)  # noqa: PTH114 - ``is_symlink`` raises in a closed folder
        is_lost = is_link and not is_folder(Path(os.path.realpath(path)).parent)
        return "a link into a folder that is not there" if is_lost else ""
    return "a socket: name a file, or a pipe that somebody reads" if stat.S_ISSOCK(mode) else ""


def _are_alike(one: Path, other: Path) -> bool:
    """Tell whether two paths lead to one place, where nothing may be yet."""
    return os.path.realpath(one) == os.path.realpath(other)


def written_warnings(config: Config) -> Found:
    """Yield each place where this user can't write; the server may run as another."""
    for at, path in written_files(config.audit):
        place = ("audit", *at)
        yield from ((place, why) for why in _unwritable(path if _is_there(path) else path.parent))
    for at, folder in spool_folders(config.audit):
        yield from ((("audit", *at), why) for why in _unwritable(_nearest(folder)))
    if config.key_cache.folder is not None:
        folder = Path(config.key_cache.folder)
        yield from ((("key_cache", "folder"), why) for why in _unwritable(folder))


def _nearest(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists: the rest is made in it."""
    above = (folder, *folder.parents)
    # A link that leads nowhere is there too: no folder can be made in its place.
    return next((path for path in above if _is_there(path) or os.path.islink(path)), folder)  # noqa: PTH114 - as in ``_no_log``


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
