"""The pace of a store: nothing is asked whose answer would come too late."""

import pytest

from authz.adapters.store.calls import CallResult, Calls, Pace
from authz.adapters.store.store import StoreBusyError


def test_who_has_too_little_time_does_not_ask() -> None:
    """Twice the usual time is needed; who is refused makes way for a try some time later."""
    pace = Pace(1.0)
    pace.require(0.001)
    for _ in range(50):
        pace.took(0.1)
    pace.require(0.25)
    refused = 0
    while True:
        try:
            pace.require(0.1)
        except StoreBusyError:
            refused += 1
        else:
            break
    assert 3 < refused < 20


def test_who_has_the_whole_timeout_asks() -> None:
    """However slow the store is, it is asked by those that may wait for it."""
    pace = Pace(0.1)
    for _ in range(50):
        pace.took(0.09)
    pace.require(0.09)
    with pytest.raises(StoreBusyError):
        pace.require(0.05)


@pytest.mark.parametrize("result", [CallResult.FORGOT, CallResult.FULL])
def test_what_alerts_watch_begins_with_zero(result: CallResult) -> None:
    """A single one is an increase only if a scrape has seen 0 before."""
    counts = Calls().counts()
    assert counts["use", result] == 0
    assert not any(counts.values())
