"""Collects the refusals of separate checks, for reports that list all of them at once."""

from collections.abc import Callable
from typing import TypeVar

from authz.core.reason import Denied

Check = Callable[[], object]
_T = TypeVar("_T")


def collect(*checks: Check) -> list[Denied]:
    """Run every check, even after a refusal, and return the refusals in this order."""
    return [fault for check in checks for fault in attempt(check)[1]]


def attempt(check: Callable[[], _T]) -> tuple[_T | None, list[Denied]]:
    """Return a check's value, or None and its refusal."""
    try:
        return check(), []
    except Denied as denied:
        return None, [denied]
