"""What is counted: exact under threads, cheap, and exported as Prometheus reads it."""

import threading
import time
from typing import TYPE_CHECKING

import pytest
from prometheus_client import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_prometheus

from authz.adapters.keys import SourceStatus
from authz.adapters.metrics import BUCKETS_SECONDS, FAMILIES, Metrics, Sources
from authz.adapters.revocation_file import RevocationList, RevocationSettings
from authz.core.reason import Reason
from support.costs import steps_of

if TYPE_CHECKING:
    from collections.abc import Callable

THREADS = 8
ROUNDS = 100_000
DURATION = "authz_decision_duration_seconds"
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class Audit:
    """An audit log's numbers."""

    dropped = 5
    errors = 6
    is_failing = True

    def __len__(self) -> int:
        """Lines that wait."""
        return 7


def status(
    issuer: str, keys: int, refused: int, age_seconds: float | None, fetches: tuple[int, int]
) -> SourceStatus:
    """How an issuer's keys are doing; ``fetches`` that succeeded and that failed."""
    return SourceStatus(
        issuer=issuer,
        source="https://a.example/jwks",
        last_success=None if age_seconds is None else 100.0,
        next_refresh=None if age_seconds is None else 400.0,
        keys=keys,
        refused=refused,
        age_seconds=age_seconds,
        last_error="",
        successes=fetches[0],
        failures=fetches[1],
    )


def statuses() -> list[SourceStatus]:
    """One issuer that has keys, and one that never answered."""
    return [
        status("https://a.example", 2, 1, 12.5, (3, 4)),
        status("https://b.example", 0, 0, None, (0, 9)),
    ]


@pytest.fixture
def metrics() -> Metrics:
    """Metrics whose sources say fixed numbers."""
    return Metrics(
        Sources(
            lambda: 8,
            statuses,
            Audit(),
            lambda: "policy-1",
            "1.2.3",
            RevocationList(RevocationSettings()),
            tls_reloads=lambda: {"taken": 2, "refused": 1},
            certificate_ends=lambda: 1000.0,
            wait_for_threads=lambda: 9,
            wait_for_others=lambda: 10,
            revocations_looked_at=lambda: 2000.0,
            idle_seconds=lambda: {"main": 0.1, "revocations": 9.0},
            log_lost=lambda: {"full": 3, "repeated": 4},
        )
    )


def samples(metrics: Metrics) -> Samples:
    """Every sample of a scrape, read from the text that Prometheus would read."""
    text = generate_latest(metrics.registry).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse_prometheus(text)
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float:
    """One sample."""
    return samples(metrics)[name, tuple(sorted(labels.items()))]


def test_counts_of_many_threads_are_exact(metrics: Metrics) -> None:
    """Eight threads that count 100,000 decisions each lose none, while others scrape."""
    stop = threading.Event()

    def count(thread: int) -> None:
        reason = None if thread % 2 else Reason.TOKEN_EXPIRED
        for _ in range(ROUNDS):
            metrics.observe(reason, 1e-4, thread % 4 == 0)

    def scrape() -> None:
        while not stop.is_set():
            samples(metrics)

    scraper = threading.Thread(target=scrape)
    threads = [threading.Thread(target=count, args=(n,)) for n in range(THREADS)]
    scraper.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    scraper.join()

    half = THREADS * ROUNDS / 2
    assert value(metrics, "authz_decisions_total", decision="allow", reason="") == half
    assert value(metrics, "authz_decisions_total", decision="deny", reason="token_expired") == half
    assert value(metrics, f"{DURATION}_count", cache="hit") == half / 2
    assert value(metrics, f"{DURATION}_count", cache="miss") == half * 1.5


def test_threads_that_ended_stay_counted(metrics: Metrics) -> None:
    """What a thread counted is not forgotten when it ends."""
    for _ in range(3):
        thread = threading.Thread(target=metrics.observe, args=(None, 1.0, False))
        thread.start()
        thread.join()

    assert value(metrics, "authz_decisions_total", decision="allow", reason="") == 3


def test_every_reason_has_its_series_from_the_start(metrics: Metrics) -> None:
    """Each reason is a series of its own, at zero before it first occurs, so rates are right."""
    zero = samples(metrics)
    for reason in Reason:
        key = ("authz_decisions_total", (("decision", "deny"), ("reason", reason.code)))
        assert zero[key] == 0
        metrics.observe(reason, 0.0, False)
        assert samples(metrics)[key] == 1
    assert value(metrics, "authz_decisions_total", decision="allow", reason="") == 0


@pytest.mark.parametrize("at", range(len(BUCKETS_SECONDS)))
def test_buckets_are_upper_bounds(metrics: Metrics, at: int) -> None:
    """A time that is exactly a bound counts in its bucket; a little more in the next."""
    bound = BUCKETS_SECONDS[at]
    metrics.observe(None, bound, False)
    metrics.observe(None, bound * 1.001, False)
    found = samples(metrics)

    counts = [
        found[f"{DURATION}_bucket", (("cache", "miss"), ("le", repr(one)))]
        for one in BUCKETS_SECONDS
    ]
    assert counts == [0] * at + [1] + [2] * (len(BUCKETS_SECONDS) - at - 1)
    assert found[f"{DURATION}_bucket", (("cache", "miss"), ("le", "+Inf"))] == 2
    assert found[f"{DURATION}_sum", (("cache", "miss"),)] == pytest.approx(bound * 2.001)
    assert found[f"{DURATION}_count", (("cache", "hit"),)] == 0


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("authz_cache_entries", {}, 8),
        ("authz_checks", {"waiting_for": "thread"}, 9),
        ("authz_checks", {"waiting_for": "others"}, 10),
        ("authz_revocations_last_look_timestamp_seconds", {}, 2000),
        ("authz_idle_seconds", {"part": "revocations"}, 9),
        ("authz_log_lost_total", {"cause": "repeated"}, 4),
        ("authz_audit_dropped_total", {}, 5),
        ("authz_audit_errors_total", {}, 6),
        ("authz_audit_failing", {}, 1),
        ("authz_audit_queue_length", {}, 7),
        ("authz_keys", {"issuer": "https://a.example", "state": "usable"}, 2),
        ("authz_keys", {"issuer": "https://a.example", "state": "refused"}, 1),
        ("authz_keys", {"issuer": "https://b.example", "state": "usable"}, 0),
        ("authz_keys_age_seconds", {"issuer": "https://a.example"}, 12.5),
        ("authz_key_fetches_total", {"issuer": "https://a.example", "result": "success"}, 3),
        ("authz_key_fetches_total", {"issuer": "https://b.example", "result": "failure"}, 9),
        ("authz_policy_info", {"version": "policy-1"}, 1),
        ("authz_build_info", {"version": "1.2.3"}, 1),
    ],
)
def test_values_of_others(
    metrics: Metrics, name: str, labels: dict[str, str], expected: float
) -> None:
    """What others count is asked of them at the scrape, each number under its own name."""
    assert value(metrics, name, **labels) == expected


def test_an_issuer_without_keys_has_no_age(metrics: Metrics) -> None:
    """Keys that never came have no age: zero would look fresh."""
    key = ("authz_keys_age_seconds", (("issuer", "https://b.example"),))

    assert key not in samples(metrics)


def test_reloads(metrics: Metrics) -> None:
    """Configs that were taken or refused are counted; only a taken one moves the time."""
    begun = value(metrics, "authz_config_last_reload_timestamp_seconds")
    metrics.reloaded(succeeded=False)
    assert value(metrics, "authz_config_last_reload_timestamp_seconds") == begun
    metrics.reloaded(succeeded=True)

    assert begun <= value(metrics, "authz_config_last_reload_timestamp_seconds") <= time.time()
    assert value(metrics, "authz_config_reloads_total", result="taken") == 1
    assert value(metrics, "authz_config_reloads_total", result="refused") == 1


@pytest.mark.parametrize("is_open", [False, True], ids=["prometheus", "openmetrics"])
def test_the_table_is_what_is_exported(metrics: Metrics, is_open: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """FAMILIES and a scrape hold the same names, types, labels and helps, in both formats."""
    metrics.observe(None, 0.1, True)
    generate: Callable[..., bytes] = generate_openmetrics if is_open else generate_latest
    text = generate(metrics.registry).decode()
    found = {
        family.name: (
            family.type,
            {name for sample in family.samples for name in sample.labels} - {"le"},
            family.documentation,
        )
        for family in (parse_openmetrics if is_open else parse_prometheus)(text)
    }

    assert found == {
        name: (kind, set(labels), text) for name, (kind, labels, text) in FAMILIES.items()
    }


def test_counting_is_cheap(metrics: Metrics) -> None:
    """A count takes a few steps of Python: nothing like a lock or a format."""
    assert steps_of(lambda: metrics.observe(None, 1e-4, True)) < 50
