"""Makes the private key of an audit log, and reads public keys from files."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from authz.core.tlog.note import NoteError, NoteSigner, NoteVerifier
from authz.core.told_error import ToldError

MAX_KEY_BYTES: Final = 64 * 1024
_MODE: Final = 0o600  # who can read the key can forge records


class AuditKeyError(ToldError):
    """A key can't be made or read; the message says which and why."""


def make_key(path: Path) -> bool:
    """Make a private key unless the file exists; tell whether it was made. Raises AuditKeyError."""
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        return False
    except OSError as error:
        raise AuditKeyError(f"{path}: {error.strerror}") from None
    return True


def read_signer(path: Path, name: str) -> NoteSigner:
    """Return the signer with a file's private key. Raises AuditKeyError."""
    try:
        return NoteSigner(name, _read(path))
    except NoteError as error:
        raise AuditKeyError(f"{path}: {error}") from None


def read_public_keys(paths: Sequence[Path]) -> NoteVerifier:
    """Return the verifier with the public keys of files. Raises AuditKeyError."""
    keys = []
    for path in paths:
        key = _read(path)
        try:
            NoteVerifier(key)  # each alone, so that the message names the file
        except NoteError as error:
            raise AuditKeyError(f"{path}: {error}") from None
        keys.append(key)
    return NoteVerifier(*keys)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_KEY_BYTES)
    except OSError as error:
        raise AuditKeyError(f"{path}: {error.strerror}") from None
