"""Collects what separate checks refuse, for reports that say everything at once."""

from collections.abc import Callable

from authz.core.reason import Denied

Check = Callable[[], object]


def collect(*checks: Check) -> list[Denied]:
    """Run each check, whatever the others say, and return their refusals in this order."""
    return [denied for check in checks if (denied := fault_of(check)) is not None]


def fault_of(check: Check) -> Denied | None:
    """Return what a check refuses, None if it passes."""
    try:
        check()
    except Denied as denied:
        return denied
    return None
