"""Writes the folder: everything is made first, and no file that exists is ever replaced."""

import json
import os
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Final, Self

from authz.config import schema
from authz.starter.bootstrap import bootstrap_text
from authz.starter.ca import LIFETIME, TryOutAuthority
from authz.starter.config_text import config_text
from authz.starter.errors import StarterError
from authz.starter.issuer import PRIVATE_KEY, TryOutIssuer
from authz.starter.settings import StarterSettings

_ENVOY_HOSTS: Final = ("localhost", "127.0.0.1", "::1")
_FOLDER_MODE: Final = 0o700
_SECRET_MODE: Final = 0o600
_FILE_MODE: Final = 0o644
_SECRETS: Final = (".key", ".jwk")


class StarterFolder:
    """The files of a folder, by name."""

    def __init__(self, settings: StarterSettings, now: datetime) -> None:
        """Make the keys, certificates and texts, and write nothing yet."""
        self.settings = settings
        self.ends_at = now + LIFETIME
        issuer = TryOutIssuer.make(settings.url, settings.agents)
        self.files = {
            ".gitignore": b"*\n",  # so that no key is committed
            **_certificates(settings, now),
            PRIVATE_KEY: issuer.document(),
            "jwks.json": issuer.jwks(),
            "schema.json": json.dumps(schema(), indent=2).encode() + b"\n",
            "envoy.yaml": bootstrap_text(settings).encode(),
            "authz.yaml": config_text(settings).encode(),
        }

    def write(self) -> Self:
        """Write all files, or none. Raises StarterError if the folder exists and is not empty."""
        folder = self.settings.folder
        try:
            with ExitStack() as undo:
                _make_folder(folder, undo)
                for name, data in self.files.items():
                    _create(folder / name, data, undo)
                undo.pop_all()
        except OSError as error:
            raise StarterError(f"{error.filename or folder}: {error.strerror}") from None
        return self


def _certificates(settings: StarterSettings, now: datetime) -> dict[str, bytes]:
    authority = TryOutAuthority(settings.trust_domain, now)
    svids = {name: authority.issue(name, spiffe) for name, spiffe in settings.agents.items()}
    svids["envoy"] = authority.issue("envoy", settings.spiffe_id("envoy"), _ENVOY_HOSTS)
    parts = {name: (svid.certificate, svid.key) for name, svid in svids.items()}
    return {
        "ca.pem": authority.certificate,
        **{f"{name}.pem": certificate for name, (certificate, _) in parts.items()},
        **{f"{name}.key": key for name, (_, key) in parts.items()},
    }


def _make_folder(folder: Path, undo: ExitStack) -> None:
    """Make the folder, or take an empty one. Raises OSError and StarterError."""
    if not folder.parent.is_dir():
        raise StarterError(f"{folder}: there is no folder {folder.parent} to make it in")
    try:
        folder.mkdir(mode=_FOLDER_MODE)
    except FileExistsError:
        _check_empty(folder)
        folder.chmod(_FOLDER_MODE)
    else:
        undo.callback(folder.rmdir)


def _check_empty(folder: Path) -> None:
    if not folder.is_dir():
        raise StarterError(f"{folder} is not a folder: name another")
    if folder.stat().st_uid != os.geteuid():  # its owner could put other files in the keys' place
        raise StarterError(f"{folder} belongs to another user: name a new folder")
    if any(folder.iterdir()):
        raise StarterError(
            f"{folder} is not empty, and no key in it is replaced: name another folder, "
            "or remove this one first"
        )


def _create(path: Path, data: bytes, undo: ExitStack) -> None:
    """Write a file that must not exist yet. Raises OSError."""
    path.touch(_SECRET_MODE, exist_ok=False)
    undo.callback(path.unlink)
    path.write_bytes(data)
    if path.suffix not in _SECRETS:
        path.chmod(_FILE_MODE)
