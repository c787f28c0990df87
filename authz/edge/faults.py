"""Logs errors of our own, by which a check or a token request is refused."""

import logging
from typing import Final

_log: Final = logging.getLogger("authz.service")


def log_fault(error: Exception) -> None:
    """Log an error of ours: its type and place only, as a message could hold parsed text."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "?"
    _log.error("internal error: %s at %s", type(error).__name__, where)
