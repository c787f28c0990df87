"""The errors that a command tells in words of their own: of a config, its files, an audit log."""

from typing import Any

from authz.adapters.tls import TlsError
from authz.cli.common import problem_members
from authz.config import ConfigError
from authz.review.audit_files import LogError
from authz.wiring import BuildError


def words_of(error: Exception) -> list[str]:
    """Return an error's lines; none if it is a fault of ours, which nobody foresaw."""
    if isinstance(error, ConfigError):
        return list(error.lines())
    if isinstance(error, (BuildError, LogError, TlsError)):
        return [f"authz: {error}"]
    return []


def members_of(error: Exception) -> list[dict[str, Any]]:
    """Return the problems of an error that has words, for ``--json``."""
    if isinstance(error, ConfigError):
        return [problem_members(problem, "error") for problem in error.problems]
    return [{"file": None, "line": None, "place": "", "message": str(error), "severity": "error"}]
