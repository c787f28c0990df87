"""The revocation file: watched by the server, and written by ``authz revoke``.

``watched`` watches it and ``writing`` writes it. The package itself offers the settings, and loads
no more.
"""

from authz.adapters.revocation_file.settings import RevocationSettings

__all__ = ["RevocationSettings"]
