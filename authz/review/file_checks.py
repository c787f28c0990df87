"""Checks the files that a config names: that they can be read, and hold what they should."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import get_args

from authz.adapters.audit import folder_of
from authz.adapters.client_credentials import check_certificate, read_bearer_token
from authz.adapters.files import read_between
from authz.adapters.http_fetch import FetchError
from authz.adapters.keys import folder_problem
from authz.adapters.tls import ServerTls, TlsError
from authz.config import Config, Place, dotted
from authz.core.jose import KeySettings
from authz.core.settings import LaterFile, NamedFile, Settings
from authz.wiring import (
    BuildError,
    build_decision_point,
    read_introspection_credential,
    read_nonce_secret,
    read_revocations,
)


def file_problems(config: Config) -> Iterator[tuple[Place, str]]:
    """Yield the place of each file that can't be used, and why."""
    unread = dict(_unread(config, NamedFile))
    yield from unread.items()
    unread |= _unread(config, LaterFile)
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
            except (BuildError, TlsError, FetchError) as error:
                # At start there is no line to tell, so that the words begin with the place.
                exact = (*place, *_key_of(error))
                words = str(error).removeprefix(dotted(exact)).removeprefix(str(exact[-1]))
                yield exact, words.lstrip(".: ")


def _key_of(error: Exception) -> Place:
    """Return the key of server.tls that an error is about, if it is of one."""
    return (error.key,) if isinstance(error, TlsError) and error.key else ()


def file_warnings(config: Config) -> Iterator[tuple[Place, str]]:
    """Yield the place of each file that can't be read here, and may be where the server runs."""
    for place, why in _unread(config, LaterFile):
        yield place, f"{why}; it has to be there when the server runs"


def _unread(config: Config, mark: type) -> Iterator[tuple[Place, str]]:
    """Yield the place of each file of a mark that can't be read, and why."""
    for place, path in _named(config, mark):
        try:
            read_between(path, 1)
        except OSError as error:
            yield place, f"{path} can't be read{_from(path)}: {error.strerror}"


def _from(path: str | Path) -> str:
    return "" if Path(path).is_absolute() else f" in {Path.cwd()}, which relative paths start from"


def _named(section: Settings, mark: type, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """Yield each place of a file in a section, and the file; the setting's type has the mark."""
    for name, field in type(section).model_fields.items():
        value, here = getattr(section, name), (*place, name)
        if isinstance(value, Settings):
            yield from _named(value, mark, here)
        elif isinstance(value, tuple):
            for at, item in enumerate(value):
                if isinstance(item, Settings):
                    yield from _named(item, mark, (*here, at))
        elif isinstance(value, str) and _is_marked([*field.metadata, field.annotation], mark):
            yield here, value


def _is_marked(annotations: list[object], mark: type) -> bool:
    """Tell whether a setting, which may be None or not, has the mark in its type."""
    parts = [part for one in annotations for part in get_args(one)]
    marks = [at for part in parts for at in getattr(part, "__metadata__", ())]
    return any(isinstance(at, mark) for at in [*annotations, *marks])


def _contents(config: Config) -> Iterator[tuple[Place, Callable[[], object]]]:
    """Yield functions that read files as the server does, and raise one of the errors above."""
    yield ("token", "dpop", "nonce_secret"), lambda: read_nonce_secret(config.token.dpop)
    yield ("revocations", "file"), lambda: read_revocations(config)
    yield ("pdp",), lambda: build_decision_point(config)
    for at, issuer in enumerate(config.issuers):
        read = partial(read_introspection_credential, issuer)
        yield ("issuers", at, "introspection"), read
        if issuer.keys is not None:
            yield from _credentials(issuer.keys, ("issuers", at, "keys"))
    tls = config.server.tls
    if tls is not None and tls.workload_api is None:
        yield ("server", "tls"), lambda: ServerTls(tls)


def _credentials(keys: KeySettings, place: Place) -> Iterator[tuple[Place, Callable[[], object]]]:
    token, tls = keys.token_file, keys.tls
    if token is not None:
        yield (*place, "token_file"), lambda: read_bearer_token(token)
    if tls is not None:
        yield (*place, "tls"), lambda: check_certificate(tls)
