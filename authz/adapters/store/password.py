"""Reads the password of a store from its file."""

from typing import Final

from authz.adapters.files import read_between
from authz.core.told_error import ToldError

_MAX_BYTES: Final = 64 * 1024


class PasswordError(ToldError):
    """The file can't be read, or holds no password; the message says why, without its content."""


def read_password(path: str) -> str:
    """Return the password as the file has it now, without a line break at its end.

    Raises PasswordError.
    """
    try:
        password = read_between(path, _MAX_BYTES).decode().rstrip("\r\n")
    except OSError as error:
        raise PasswordError(f"can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise PasswordError("must hold a password in UTF-8") from None
    if not password or "\n" in password:
        raise PasswordError("must hold a password in a single line")
    return password
