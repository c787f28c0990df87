"""A panel of Grafana's dashboard, and the PromQL that many queries have in common."""

from dataclasses import dataclass
from typing import Final

_CHOSEN: Final = 'job=~"$job", instance=~"$instance"'  # at the top of the dashboard


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel.

    Attributes:
        title, text: its title, and the description below it.
        queries: in PromQL, by the legends of their series.
        unit: Grafana's name of the unit.
        kind: Grafana's name of the type of panel.
        bad_from: the least value that is shown in red, None if none is.
    """

    title: str
    text: str
    queries: dict[str, str]
    unit: str = "short"
    kind: str = "timeseries"
    bad_from: float | None = None


def chosen(metric: str, *compared: str) -> str:
    """Return the series of a metric at the servers that are chosen."""
    return f"{metric}{{{', '.join((_CHOSEN, *compared))}}}"


def rate(metric: str, *compared: str) -> str:
    """Return how fast a counter grows, a second."""
    return f"rate({chosen(metric, *compared)}[$__rate_interval])"


def rates_by(labels: str, metric: str, *compared: str) -> str:
    """Return how fast a counter grows, added up for each value of the labels."""
    return f"sum by ({labels}) ({rate(metric, *compared)})"


def growth(metric: str) -> str:
    """Return by how much a counter grew since the point before on the graph."""
    return f"increase({chosen(metric)}[$__rate_interval])"


def growth_by(labels: str, metric: str) -> str:
    """Return by how much a counter grew, added up for each value of the labels."""
    return f"sum by ({labels}) ({growth(metric)})"


def quantile(share: str, labels: str, metric: str) -> str:
    """Return the quantile of a histogram for each value of the labels, of which le is one."""
    return f"histogram_quantile({share}, sum by ({labels}) ({rate(f'{metric}_bucket')}))"


def age(metric: str) -> str:
    """Return how long ago the time was that a gauge of the chosen servers has."""
    return f"time() - {chosen(metric)}"
