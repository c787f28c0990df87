"""Runs a target until it finds something, to see that it would notice a wrong decision."""

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

EXAMPLES = 500


def until_found(target: Callable[[Callable[..., Any]], object], examples: int = EXAMPLES) -> None:
    """Run a target, which gets what draws, some hundred times. Raises what it finds, unshrunk."""

    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def run(data: st.DataObject) -> None:
        target(data.draw)

    run()
