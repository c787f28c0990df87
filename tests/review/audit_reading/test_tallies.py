"""Counts of what clients choose: bounded, right about what is frequent, honest about the rest."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from authz.review.audit_reading.tallies import (
    MAX_NAME_CHARS,
    BoundedTable,
    Latencies,
    Tally,
    bounded_name,
)


def test_hostile_names_do_not_hide_the_frequent_ones() -> None:
    """Among a flood of names that come once, a frequent one is kept, and its count nearly right."""
    table: BoundedTable[int, Tally] = BoundedTable(Tally, most=50)
    names = [*range(1, 20_001), *[0] * 2_000]
    Random(7).shuffle(names)
    for name in [*range(20_001, 30_001), *names]:
        table.of(name).count += 1

    (first, tally), *_ = table.largest(1)
    assert first == 0
    assert 2_000 - table.missed <= tally.count <= 2_000
    assert table.missed < 2_000
    assert len(table.values) <= 100
    assert sum(each.count for each in table.values.values()) + table.left_out == 32_000


def test_few_names_are_counted_exactly() -> None:
    """As long as all names are kept, nothing is left out."""
    table: BoundedTable[int, Tally] = BoundedTable(Tally, most=50)
    for name in range(100):
        table.of(name).count += name

    assert [(key, each.count) for key, each in table.largest(2)] == [(99, 99), (98, 98)]
    assert (table.left_out, table.missed) == (0, 0)


def test_long_names_are_bounded_and_distinct() -> None:
    """A very long name is kept by its beginning and a digest."""
    one, other = ("x" * 1_000_000 + end for end in "ab")

    assert bounded_name("short") == "short"
    assert len(bounded_name(one)) <= MAX_NAME_CHARS
    assert bounded_name(one) != bounded_name(other)


@given(st.lists(st.integers(0, 10**9), min_size=1), st.sampled_from([50.0, 90.0, 99.9, 100.0]))
def test_percentiles(values: list[int], percent: float) -> None:
    """A percentile is the right one, or at most 2 % more."""
    latencies = Latencies()
    for value in values:
        latencies.add(value)
    ranked = sorted(values)
    right = next(v for at, v in enumerate(ranked, 1) if at * 100 >= len(ranked) * percent)

    assert right <= latencies.percentile(percent) <= right * 1.02 + 1e-9
    assert latencies.most == ranked[-1]
