"""How long a backlog takes from one decision to the next."""

import pytest

from authz.transports.native.pace import WINDOW, Pace

DECISION_SECONDS = 0.001


def paced(*notes: tuple[float, int]) -> Pace:
    """Return the pace after decisions that took so many seconds in all, in slices."""
    pace, now = Pace(), 100.0
    pace.note(now, 1)
    for seconds, decided in notes:
        now += seconds
        pace.note(now, decided)
    return pace


def test_it_is_what_decisions_take() -> None:
    """However many of them a slice holds."""
    assert paced(*[(DECISION_SECONDS, 1)] * 200).seconds == pytest.approx(DECISION_SECONDS, 0.01)
    assert paced(*[(0.04, 40)] * 2).seconds == pytest.approx(DECISION_SECONDS)


def test_a_machine_that_stands_still_for_once_is_not_slow() -> None:
    """Or 24 checks ahead of one would take longer than half of its second, and it be refused."""
    stood_still = paced(*[(DECISION_SECONDS, 1)] * 200, (0.5, 1))

    assert 24 * stood_still.seconds < 0.5


def test_what_waited_meanwhile_makes_it_right() -> None:
    """As soon as a window of decisions was made at the old speed, the pause is forgotten."""
    pace = paced((0.5, 1), (WINDOW * DECISION_SECONDS, WINDOW))

    assert pace.seconds == pytest.approx(DECISION_SECONDS)


def test_a_rest_is_no_decision() -> None:
    """The time in which nothing waited does not count."""
    pace = paced(*[(DECISION_SECONDS, 1)] * 200)
    pace.rest()
    assert not pace.is_kept
    pace.note(1000.0, 1)

    assert pace.seconds == pytest.approx(DECISION_SECONDS, 0.01)
