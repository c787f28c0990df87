"""The errors that a command tells in words of their own: of a config, its files, an audit log."""

from typing import Any

from authz.adapters.tls import TlsError
from authz.cli.common import problem_members, told_alone
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
    """Return the problems of an error that has words, for ``--json``: a config's, or itself."""
    problems = getattr(error, "problems", None)
    return (
        [told_alone(str(error))]
        if problems is None
        else [problem_members(problem, "error") for problem in problems]
    )
