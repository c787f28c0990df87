"""Reads the file of a private key, and tells when it holds another."""

from collections.abc import Sequence
from contextlib import suppress

from authz.adapters.files import FileView, StabilityTimer, look, read_at_rest
from authz.adapters.signing.private_key import (
    MAX_KEY_BYTES,
    NEW_KEY,
    SigningKey,
    SigningKeyError,
    parse_signing_key,
)


class KeyFile:
    """A file with a private key. For a single thread.

    Attributes:
        path: where it is.
        key: the last valid key.
        fault: why what is there now can't be used, "" if it can.
        is_pending: whether the file has changed, and does not rest yet.
    """

    def __init__(self, path: str) -> None:
        """Read the key, once the file is at rest. Raises SigningKeyError."""
        self.path = path
        self.key = _read(path)
        self.fault = ""
        self.is_pending = False
        self._view: FileView | None = None
        self._found: SigningKey | SigningKeyError = self.key
        self._rest = StabilityTimer()

    def changed(self, now: float) -> bool:
        """Check the file, and tell whether it rests with another content than at the last time.

        Then ``key`` or ``fault`` is set. ``now`` is monotonic seconds. Never waits, never raises.
        """
        view, pem = look(self.path, MAX_KEY_BYTES, self._view)
        if view != self._view:
            self.is_pending = True
            self._view = view
            self._found = _parsed(pem, self.path, view.error)
        if not self._rest.is_long_enough(view, now) or not self.is_pending:
            return False
        self.is_pending = False
        return self._take()

    def _take(self) -> bool:
        before = (self.key, self.fault)
        if isinstance(self._found, SigningKeyError):
            self.fault = str(self._found)
        else:
            self.key, self.fault = self._found, ""
        return before != (self.key, self.fault)


def check_key_files(paths: Sequence[str]) -> None:
    """Require that the last file has a key, and none before it the same. Raises SigningKeyError."""
    path, key = paths[-1], read_signing_key(paths[-1])
    for other in paths[:-1]:
        with suppress(SigningKeyError):  # it is told as the last of the paths up to it
            if read_signing_key(other).kid == key.kid:
                break
    else:
        return
    raise SigningKeyError(shared(path, other))


def shared(path: str, other: str) -> str:
    """Say that two files have the same key, which would sign on when its time is over."""
    return f"{path} holds the same key as {other}: make another for it"


def read_signing_key(path: str) -> SigningKey:
    """Read a key from its file as it is now, at rest or not. Raises SigningKeyError."""
    view, pem = look(path, MAX_KEY_BYTES)
    key = _parsed(pem, path, view.error)
    if isinstance(key, SigningKeyError):
        raise key
    return key


def _read(path: str) -> SigningKey:
    try:
        return parse_signing_key(read_at_rest(path, MAX_KEY_BYTES), path)
    except OSError as error:
        cure = f"; {NEW_KEY}" if isinstance(error, FileNotFoundError) else ""
        raise SigningKeyError(f"{path} can't be read: {error.strerror}{cure}") from None


def _parsed(pem: bytes | None, path: str, fault: str) -> SigningKey | SigningKeyError:
    if pem is None:
        return SigningKeyError(f"{path} can't be read: {fault}")
    try:
        return parse_signing_key(pem, path)
    except SigningKeyError as error:
        return error.with_traceback(None)
