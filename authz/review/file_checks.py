"""Checks the files that a config names: that they can be read, and hold what they should."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import get_args

from authz.adapters.audit import folder_of
from authz.adapters.files import read_between
from authz.adapters.keys import folder_problem
from authz.adapters.tls import ServerTls, TlsError
from authz.config import Config, Place, dotted
from authz.core.settings import NamedFile, Settings
from authz.wiring import (
    BuildError,
    build_decision_point,
    read_introspection_credential,
    read_nonce_secret,
    read_revocations,
)


def file_problems(config: Config) -> Iterator[tuple[Place, str]]:
    """Yield the place of each file that can't be used, and why."""
    unread: set[Place] = set()
    for place, path in _named(config):
        try:
            read_between(path, 1)
        except OSError as error:
            unread.add(place)
            yield place, f"{path} can't be read{_from(path)}: {error.strerror}"
    folder = folder_of(config.audit.path)
    if folder is not None and not folder.is_dir():
        yield ("audit", "path"), f"there is no folder {folder}{_from(folder)}"
    keys = config.key_cache.folder
    if keys is not None and (problem := folder_problem(Path(keys))):
        yield ("key_cache", "folder"), problem + _from(keys)
    for place, read in _contents(config):
        if not any(other[: len(place)] == place for other in unread):
            try:
                read()
            except (BuildError, TlsError) as error:
                # At start there is no line to tell, so that the words begin with the place.
                yield place, str(error).removeprefix(dotted(place)).lstrip(".: ")


def _from(path: str | Path) -> str:
    return "" if Path(path).is_absolute() else f" in {Path.cwd()}, which relative paths start from"


def _named(section: Settings, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """Yield each place of a file in a section, and the file; the setting's type marks it."""
    for name, field in type(section).model_fields.items():
        value, here = getattr(section, name), (*place, name)
        if isinstance(value, Settings):
            yield from _named(value, here)
        elif isinstance(value, tuple):
            for at, item in enumerate(value):
                if isinstance(item, Settings):
                    yield from _named(item, (*here, at))
        elif isinstance(value, str) and _names_a_file(field.annotation):
            yield here, value


def _names_a_file(annotation: object) -> bool:
    marks = [mark for part in get_args(annotation) for mark in getattr(part, "__metadata__", ())]
    return any(isinstance(mark, NamedFile) for mark in marks)


def _contents(config: Config) -> Iterator[tuple[Place, Callable[[], object]]]:
    """Yield functions that read files as the server does, and raise BuildError or TlsError."""
    yield ("token", "dpop", "nonce_secret"), lambda: read_nonce_secret(config.token.dpop)
    yield ("revocations", "file"), lambda: read_revocations(config)
    yield ("pdp",), lambda: build_decision_point(config)
    for at, issuer in enumerate(config.issuers):
        read = partial(read_introspection_credential, issuer)
        yield ("issuers", at, "introspection"), read
    tls = config.server.tls
    if tls is not None and tls.workload_api is None:
        yield ("server", "tls"), lambda: ServerTls(tls)
