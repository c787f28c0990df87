"""The file of what was revoked: watched, and written to by ``authz revoke``."""

from authz.adapters.revocation_file.watched import RevocationList, RevocationSettings
from authz.adapters.revocation_file.writing import append

__all__ = ["RevocationList", "RevocationSettings", "append"]
