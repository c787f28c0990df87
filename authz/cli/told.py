"""The errors that a command tells in words of their own: of a config, its files, an audit log."""

from authz.core.told_error import ToldError


def words_of(error: Exception) -> list[str]:
    """Return an error's lines; none if it is a fault of ours, which nobody foresaw."""
    return list(error.lines()) if isinstance(error, ToldError) else []
