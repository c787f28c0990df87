"""Reads the key that signs the log's checkpoints."""

import socket
from typing import Final

from authz.adapters.audit.settings import ChainSettings
from authz.adapters.files import read_at_rest
from authz.core.tlog.note import NoteError, NoteSigner
from authz.core.told_error import ToldError

NEW_KEY: Final = "authz audit key makes it"
MAX_KEY_BYTES: Final = 64 * 1024  # a longer file is certainly a wrong one


class ChainKeyError(ToldError):
    """Signals that the key of ``audit.chain`` can't be used; the message is for the operator."""


def read_signer(settings: ChainSettings) -> NoteSigner:
    """Return the signer of checkpoints, in the server's name. Raises ChainKeyError."""
    try:
        pem = read_at_rest(settings.key, MAX_KEY_BYTES)
        return NoteSigner(server_name(settings), pem)
    except OSError as error:
        cure = f"; {NEW_KEY}" if isinstance(error, FileNotFoundError) else ""
        raise ChainKeyError(
            f"audit.chain.key: {settings.key} can't be read: {error.strerror}{cure}"
        ) from None
    except NoteError as error:
        raise ChainKeyError(f"audit.chain.key: {error}") from None


def server_name(settings: ChainSettings) -> str:
    """Return the server's name in checkpoints: by default the host's."""
    return settings.name or socket.gethostname()
