"""Reads the files of a config that decisions and records need: secrets, and revocations."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from authz.adapters.audit.records.redaction import Redaction
from authz.adapters.audit.redaction_settings import RedactionSettings
from authz.adapters.files import read_at_rest
from authz.adapters.revocation_file.settings import NEW_FILE
from authz.adapters.revocation_file.watched import RevocationFile
from authz.adapters.revocations.sources import RevocationSources
from authz.adapters.store.store import Store
from authz.config import Config
from authz.core.delegation import DpopSettings
from authz.core.delegation.token_settings import NonceNeed
from authz.core.revocations import RevocationError
from authz.core.told_error import ToldError

MIN_SECRET_BYTES: Final = 32  # as long as the HMAC's digest (RFC 2104 section 3)
MAX_SECRET_BYTES: Final = 64 * 1024  # a longer file is certainly a wrong one


class BuildError(ToldError):
    """A file that the config names can't be used; the message is for the operator."""


def needs_nonces(config: Config) -> bool:
    """Tell whether clients get nonces whose secret is in no file."""
    dpop = config.token.dpop
    return dpop.nonce is NonceNeed.REQUIRED and dpop.nonce_secret is None


def read_nonce_secret(settings: DpopSettings) -> bytes | None:
    """Return the secret of DPoP nonces (RFC 9449 section 9) in the settings' file, if any.

    Raises BuildError.
    """
    if settings.nonce_secret is None:
        return None
    return _read_secret("token.dpop.nonce_secret", settings.nonce_secret)


def read_redaction(settings: RedactionSettings) -> Redaction | None:
    """Return the redaction of records, None if nothing is redacted. Raises BuildError."""
    if not settings.fields:
        return None
    if settings.key_file is None:
        return Redaction(settings)
    return Redaction(settings, _read_secret("audit.redact.key_file", settings.key_file))


def _read_secret(key: str, path: str) -> bytes:
    """Return the secret in a file that ``key`` of the config names. Raises BuildError."""
    try:
        secret = read_at_rest(path, MAX_SECRET_BYTES)
    except OSError as error:
        raise BuildError(f"{key} can't be read: {error.strerror}") from None
    if len(secret) < MIN_SECRET_BYTES:
        raise BuildError(f"{key} has less than {MIN_SECRET_BYTES} bytes")
    if len(secret) > MAX_SECRET_BYTES:
        raise BuildError(f"{key} has more than {MAX_SECRET_BYTES} bytes")
    return secret


def read_revocations(config: Config) -> RevocationFile:
    """Read the revocation file once, for questions without a server. Raises BuildError."""
    with _told(config):
        return RevocationFile(config.revocations)


def open_revocations(config: Config, store: Store) -> RevocationSources:
    """Open the sources of revocations; the caller refreshes them. Raises BuildError."""
    with _told(config):
        return RevocationSources(config.revocations, None if config.store is None else store)


@contextmanager
def _told(config: Config) -> Iterator[None]:
    try:
        yield
    except RevocationError as error:
        raise BuildError(f"revocations.file: {error}{_begun(config)}") from None


def _begun(config: Config) -> str:
    """Return how to begin a revocation file if there is none; a lost one must be brought back."""
    file = config.revocations.file
    return "" if file is None or Path(file).exists() else f"; {NEW_FILE}"
