"""The errors that a command prints in their own words: of a config, its files, an audit log."""

from typing import Any

from authz.cli.common import told_alone
from authz.core.told_error import ToldError


def words_of(error: Exception) -> list[str]:
    """Return an error's lines; none for an unexpected error, which is a fault of ours."""
    return list(error.lines()) if isinstance(error, ToldError) else []


def members_of(error: Exception) -> list[dict[str, Any]]:
    """Return the problems of an error that has words, for ``--json``: a config's, or itself."""
    problems = getattr(error, "problems", None)
    return (
        [told_alone(str(error))]
        if problems is None
        else [problem.members("error") for problem in problems]
    )
