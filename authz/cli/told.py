"""The errors that a command tells in words of their own: of a config, its files, an audit log."""

from authz.adapters.tls import TlsError
from authz.config import ConfigError
from authz.review.audit_files import LogError
from authz.wiring.snapshot import BuildError


def words_of(error: Exception) -> list[str]:
    """Return an error's lines; none if it is a fault of ours, which nobody foresaw."""
    if isinstance(error, ConfigError):
        return list(error.lines())
    if isinstance(error, (BuildError, LogError, TlsError)):
        return [f"authz: {error}"]
    return []
