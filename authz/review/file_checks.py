"""Checks the files that a config names: that they can be read, and hold what they should."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from authz.adapters.audit import folder_of
from authz.adapters.client_credentials import check_certificate, read_bearer_token
from authz.adapters.files import read_between
from authz.adapters.http_fetch import FetchError
from authz.adapters.keys import check_files, folder_problem
from authz.adapters.tls import ServerTls, TlsError
from authz.config import Config, Place, dotted
from authz.core.extras import missing_extra
from authz.core.jose import KeySetError, KeySettings
from authz.core.settings import LaterFile, NamedFile
from authz.review.address_lint import workload_apis
from authz.review.named_files import named_files
from authz.transports.opening import check_transport
from authz.transports.transport import TransportError
from authz.wiring import (
    BuildError,
    build_decision_point,
    read_introspection_credential,
    read_nonce_secret,
    read_revocations,
)

_ERRORS: Final = (BuildError, FetchError, KeySetError, TlsError, TransportError)


def file_problems(config: Config) -> Iterator[tuple[Place, str]]:
    """Yield the place of each file that can't be used, and why."""
    unread = dict(_unread(config, NamedFile))
    yield from unread.items()
    unread |= _unread(config, LaterFile)
    yield from _audit_file(config)
    if find_spec("spiffe") is None:
        message = missing_extra("spiffe", "the Workload API needs")
        yield from ((place, message) for place in workload_apis(config))
    keys = config.key_cache.folder
    if keys is not None and (problem := folder_problem(Path(keys))):
        yield ("key_cache", "folder"), problem + _from(keys)
    for place, read in _contents(config):
        if not any(other[: len(place)] == place for other in unread):
            try:
                read()
            except _ERRORS as error:
                # At start there is no line to tell, so that the words begin with the place.
                words = str(error).removeprefix(dotted(place)).removeprefix(str(place[-1]))
                yield place, words.lstrip(".: ")


def file_warnings(config: Config, main: Path) -> Iterator[tuple[Place, str]]:
    """Yield the place of each file that can't be used here, and may be where the server runs.

    ``main`` is the config's own file.
    """
    for place, why in _unread(config, LaterFile):
        yield place, f"{why}; it has to be there when the server runs"

    if audit := _audit_path(config):
        target = audit if audit.exists() else audit.parent
        if target.exists() and not os.access(target, os.W_OK, effective_ids=True):
            yield ("audit", "path"), _not_writable(target)
    keys = config.key_cache.folder
    if (
        keys is not None
        and Path(keys).is_dir()
        and not os.access(keys, os.W_OK | os.X_OK, effective_ids=True)
    ):
        yield ("key_cache", "folder"), _not_writable(Path(keys))
    if config.candidate is not None and _is_same_file(Path(config.candidate), main):
        message = "it is this config itself, so that no decision can differ"
        yield ("candidate",), message


def _not_writable(path: Path) -> str:
    return f"{path} can't be written by this user; the server's has to"


def _audit_path(config: Config) -> Path | None:
    """Return the audit log's file, None for standard output."""
    return None if folder_of(config.audit.path) is None else Path(config.audit.path)


def _audit_file(config: Config) -> Iterator[tuple[Place, str]]:
    path, place = _audit_path(config), ("audit", "path")
    if path is None:
        return
    if not path.parent.is_dir():
        yield place, f"there is no folder {path.parent}{_from(path.parent)}"
    elif path.is_dir():
        yield place, f"{path} is a folder: name a file in it"
    for mark in (NamedFile, LaterFile):
        for other, name in named_files(config, mark):
            if _is_same_file(path, Path(name)):
                yield place, f"{path} is also {dotted(other)}: records would be added to it"


def _is_same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _unread(config: Config, mark: type) -> Iterator[tuple[Place, str]]:
    """Yield the place of each file of a mark that can't be read, and why."""
    for place, path in named_files(config, mark):
        try:
            read_between(path, 1)
        except OSError as error:
            yield place, f"{path} can't be read{_from(path)}: {error.strerror}"


def _from(path: str | Path) -> str:
    return "" if Path(path).is_absolute() else f" in {Path.cwd()}, which relative paths start from"


def _contents(config: Config) -> Iterator[tuple[Place, Callable[[], object]]]:
    """Yield functions that read files as the server does, and raise one of the errors above."""
    yield ("token", "dpop", "nonce_secret"), lambda: read_nonce_secret(config.token.dpop)
    yield ("revocations", "file"), lambda: read_revocations(config)
    yield ("pdp",), lambda: build_decision_point(config)
    for at, issuer in enumerate(config.issuers):
        read = partial(read_introspection_credential, issuer)
        yield ("issuers", at, "introspection"), read
        if issuer.keys is not None:
            place: Place = ("issuers", at, "keys")
            yield from _credentials(issuer.keys, place)
            yield from _of_keys(issuer.keys, place, issuer.issuer, frozenset(issuer.algorithms))
    tls = config.server.tls
    if tls is None:
        yield ("server", "transport"), lambda: check_transport(config.server, None)
    elif tls.workload_api is None:
        yield ("server", "tls"), lambda: check_transport(config.server, ServerTls(tls))


def _of_keys(
    keys: KeySettings, place: Place, issuer: str, algorithms: frozenset[str]
) -> Iterator[tuple[Place, Callable[[], object]]]:
    """Yield the function that reads keys and CAs, with the place of the file that it reads."""
    read = partial(check_files, keys, issuer, algorithms)
    bundle = keys.spiffe_bundle
    if keys.file is not None:
        yield (*place, "file"), read
    elif keys.ca_file is not None:
        yield (*place, "ca_file"), read
    elif bundle is not None and bundle.workload_api is None:
        yield (*place, "spiffe_bundle", "bootstrap" if bundle.file is None else "file"), read


def _credentials(keys: KeySettings, place: Place) -> Iterator[tuple[Place, Callable[[], object]]]:
    token, tls = keys.token_file, keys.tls
    if token is not None:
        yield (*place, "token_file"), lambda: read_bearer_token(token)
    if tls is not None:
        yield (*place, "tls"), lambda: check_certificate(tls)
