"""The revocation file: watched by the server, and written by ``authz revoke``."""

from authz.adapters.revocation_file.watched import (
    RevocationFile,
    RevocationSettings,
    RevocationStatus,
)
from authz.adapters.revocation_file.writing import append, take_back

__all__ = ["RevocationFile", "RevocationSettings", "RevocationStatus", "append", "take_back"]
