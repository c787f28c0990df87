"""The declaration of a metric family."""

from enum import StrEnum
from typing import Final, NamedTuple

BUCKETS_SECONDS: Final = (
    25e-6, 50e-6, 100e-6, 250e-6, 500e-6,
    1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 500e-3, 1.0,
)  # fmt: skip


class FamilyKind(StrEnum):
    """The Prometheus type of a family."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Family(NamedTuple):
    """The declaration of a metric family; ``text`` is its help."""

    kind: FamilyKind
    labels: tuple[str, ...]
    text: str


COUNTER: Final = FamilyKind.COUNTER
GAUGE: Final = FamilyKind.GAUGE
HISTOGRAM: Final = FamilyKind.HISTOGRAM
