"""The revocation file: watched by the server, and appended to by ``authz revoke``."""

from authz.adapters.revocation_file.watched import (
    RevocationFile,
    RevocationSettings,
    RevocationStatus,
)
from authz.adapters.revocation_file.writing import append

__all__ = ["RevocationFile", "RevocationSettings", "RevocationStatus", "append"]
