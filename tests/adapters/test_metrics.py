"""What is counted: exact under threads, cheap, and exported as Prometheus reads it."""

import threading
import time
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families as parse_prometheus

from authz import __version__
from authz.adapters.audit.log import AuditStatus
from authz.adapters.audit.sinks.status import SinkStatus
from authz.adapters.budgets import SpenderStatus, SpendResult
from authz.adapters.exchange import EndpointStatus, ExchangeResult, ExchangesStatus
from authz.adapters.introspection import IntrospectionResult, IntrospectionStatus
from authz.adapters.keys.store import SourceStatus
from authz.adapters.metrics import (
    BUCKETS_SECONDS,
    MAX_NAMED_AGENTS,
    OTHER_AGENTS,
    Metrics,
)
from authz.adapters.revocation_file.telling import RevocationStatus
from authz.adapters.signals.status import SignalResult, SignalStatus
from authz.adapters.signing.signer import SigningStatus
from authz.adapters.signing.timeline import KeyUse
from authz.adapters.single_use import SingleUseStatus, UseResult
from authz.adapters.status_lists import StatusListResult, StatusListStatus
from authz.adapters.store.store import StoreStatus
from authz.adapters.tls import TlsStatus
from authz.core.reason import Reason
from authz.core.single_use import UseKind
from authz.edge.bulkhead import BulkheadStatus
from authz.edge.cache import CacheStatus
from authz.edge.check_pool import PoolStatus
from authz.edge.snapshot import SnapshotStatus
from authz.server.liveness import LivenessStatus
from authz.server.log_writer import LogStatus
from authz.server.process_metrics import ProcessMetrics, ReportingParts
from authz.server.reload import ReloadStatus
from lab.mesh import TRAVEL
from support.costs import steps_of
from support.scraped import scraped, tabled
from support.world import World, check_request, wait_until

THREADS = 8
ROUNDS = 100_000
DURATION = "authz_decision_duration_seconds"
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


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


class Fixed:
    """A part that is always as it was made."""

    def __init__(self, status: Any) -> None:
        """Take its status."""
        self._status = status

    def status(self) -> Any:
        """Return it."""
        return self._status


class FixedSignals(Fixed):
    """Signals, of a transmitter with keys of its own."""

    def key_sources(self) -> tuple[SourceStatus, ...]:
        """Return the state of these."""
        return (status("signals of https://t.example", 1, 0, 1.0, (1, 0)),)


# One issuer that has keys, and one that never answered.
KEYS = (
    status("https://a.example", 2, 1, 12.5, (3, 4)),
    status("https://b.example", 0, 0, None, (0, 9)),
)
AUDIT = AuditStatus(
    queued=7,
    dropped=5,
    errors=6,
    is_failing=True,
    refuses_allows=False,
    unencoded=1,
    waiting=2,
    sinks=(
        SinkStatus(
            name="siem",
            kind="http",
            queued=7,
            written=11,
            dropped=12,
            rejected=13,
            errors=14,
            is_failing=True,
            spooled_bytes=15,
            refuses_allows=False,
        ),
    ),
    checkpoint_at=4000.0,
    is_witness_failing=True,
)
PARTS = ReportingParts(
    service=Fixed(
        SnapshotStatus("policy-1", is_shadow=False, cache=CacheStatus(8), decision_point=None)
    ),
    keys=Fixed(KEYS),
    introspections=Fixed((IntrospectionStatus("https://a.example", is_cut_off=True, calls=1),)),
    exchanges=Fixed(
        ExchangesStatus((EndpointStatus("https://a.example", is_cut_off=True, calls=1),), 19)
    ),
    signing=Fixed(SigningStatus(dict.fromkeys(KeyUse, 1), 6000.0, 20, 21, is_failing=True)),
    store=Fixed(
        StoreStatus(is_shared=True, is_away=True, answered_at=5000.0, calls={("use", "away"): 2})
    ),
    status_lists=Fixed(
        (
            StatusListStatus("https://a.example", lists=3, oldest=5000.0),
            StatusListStatus("https://b.example", lists=0, oldest=None),
        )
    ),
    single_uses=Fixed(SingleUseStatus({(UseKind.TOKEN, UseResult.USED): 16})),
    revocations=Fixed((RevocationStatus("file", 0, 0, 0, 2000.0),)),
    spender=Fixed(SpenderStatus({("pay/pay", SpendResult.SPENT): 5})),
    audit=Fixed(AUDIT),
    tracer=None,
    tls=Fixed(TlsStatus(taken=2, refused=1, not_after=1000.0)),
    pool=Fixed(PoolStatus(queued=9, finished=0, threads=4)),
    bulkhead=Fixed(BulkheadStatus(waiting=10, limit=512)),
    signals=FixedSignals(
        SignalStatus(
            {("https://a.example", "session-revoked", SignalResult.REVOKED): 17},
            {("https://a.example", True): 18},
            {"https://a.example": 5000.0},
        )
    ),
    reload=Fixed(ReloadStatus(taken=0, refused=0, taken_at=3000.0, is_refused=False)),
    liveness=Fixed(LivenessStatus({"main": 0.1, "revocations": 9.0}, stuck=())),
    log=Fixed(LogStatus(full=3, repeated=4, failed=0)),
)


class Counted(Metrics):
    """Counts, and the registry that tells of them and of parts that say fixed numbers."""

    def __init__(self) -> None:
        """Begin at zero."""
        super().__init__()
        self.registry = ProcessMetrics(self, PARTS).registry


@pytest.fixture
def metrics() -> Counted:
    """Counts at zero."""
    return Counted()


def samples(metrics: Counted) -> Samples:
    """Every sample of a scrape, read from the text that Prometheus would read."""
    text = generate_latest(metrics.registry).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse_prometheus(text)
        for sample in family.samples
    }


def value(metrics: Counted, name: str, **labels: str) -> float:
    """One sample."""
    return samples(metrics)[name, tuple(sorted(labels.items()))]


def test_counts_of_many_threads_are_exact(metrics: Counted) -> None:
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


def test_threads_that_ended_stay_counted(metrics: Counted) -> None:
    """What a thread counted is not forgotten when it ends."""
    for _ in range(3):
        thread = threading.Thread(target=metrics.observe, args=(None, 1.0, False))
        thread.start()
        thread.join()

    assert value(metrics, "authz_decisions_total", decision="allow", reason="") == 3


def test_every_reason_has_its_series_from_the_start(metrics: Counted) -> None:
    """Each reason is a series of its own, at zero before it first occurs, so rates are right."""
    zero = samples(metrics)
    for reason in Reason:
        key = ("authz_decisions_total", (("decision", "deny"), ("reason", reason.code)))
        assert zero[key] == 0
        metrics.observe(reason, 0.0, False)
        assert samples(metrics)[key] == 1
    assert value(metrics, "authz_decisions_total", decision="allow", reason="") == 0


@pytest.mark.parametrize("at", range(len(BUCKETS_SECONDS)))
def test_buckets_are_upper_bounds(metrics: Counted, at: int) -> None:
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
        (
            "authz_signals_total",
            {"issuer": "https://a.example", "event": "session-revoked", "result": "revoked"},
            17,
        ),
        ("authz_signal_polls_total", {"issuer": "https://a.example", "result": "success"}, 18),
        ("authz_signals_last_timestamp_seconds", {"issuer": "https://a.example"}, 5000),
        ("authz_keys", {"issuer": "signals of https://t.example", "state": "usable"}, 1),
        ("authz_checks", {"waiting_for": "thread"}, 9),
        ("authz_checks", {"waiting_for": "others"}, 10),
        ("authz_single_uses_total", {"kind": "token", "result": "used"}, 16),
        ("authz_single_uses_total", {"kind": "proof", "result": "away"}, 0),
        ("authz_revocations_last_look_timestamp_seconds", {"source": "file"}, 2000),
        ("authz_idle_seconds", {"part": "revocations"}, 9),
        ("authz_log_lost_total", {"cause": "repeated"}, 4),
        ("authz_audit_records_total", {"sink": "siem"}, 11),
        ("authz_audit_dropped_total", {"sink": ""}, 5),
        ("authz_audit_dropped_total", {"sink": "siem"}, 12),
        ("authz_audit_rejected_total", {"sink": "siem"}, 13),
        ("authz_audit_errors_total", {"sink": ""}, 1),
        ("authz_audit_errors_total", {"sink": "siem"}, 14),
        ("authz_audit_failing", {"sink": "siem"}, 1),
        ("authz_audit_queue_length", {"sink": ""}, 2),
        ("authz_audit_queue_length", {"sink": "siem"}, 7),
        ("authz_audit_spool_bytes", {"sink": "siem"}, 15),
        ("authz_audit_checkpoint_timestamp_seconds", {}, 4000),
        ("authz_audit_witness_failing", {}, 1),
        ("authz_keys", {"issuer": "https://a.example", "state": "usable"}, 2),
        ("authz_keys", {"issuer": "https://a.example", "state": "refused"}, 1),
        ("authz_keys", {"issuer": "https://b.example", "state": "usable"}, 0),
        ("authz_keys_age_seconds", {"issuer": "https://a.example"}, 12.5),
        ("authz_exchange_breaker_open", {"issuer": "https://a.example"}, 1),
        ("authz_exchange_memory_bytes", {}, 19),
        ("authz_key_fetches_total", {"issuer": "https://a.example", "result": "success"}, 3),
        ("authz_key_fetches_total", {"issuer": "https://b.example", "result": "failure"}, 9),
        ("authz_policy_info", {"version": "policy-1"}, 1),
        ("authz_build_info", {"version": __version__}, 1),
    ],
)
def test_values_of_others(
    metrics: Counted, name: str, labels: dict[str, str], expected: float
) -> None:
    """What others count is asked of them at the scrape, each number under its own name."""
    assert value(metrics, name, **labels) == expected


def refusals(found: Samples) -> dict[str, float]:
    """The refusals of each agent."""
    return {
        dict(labels)["agent"]: number
        for (name, labels), number in found.items()
        if name == "authz_agent_refusals_total"
    }


def test_agents_make_a_bounded_number_of_series(metrics: Counted) -> None:
    """The first hundred have their names, in every thread; the others are counted together."""

    def refuse(first: int) -> None:
        for number in range(first, first + MAX_NAMED_AGENTS):
            metrics.observe(Reason.POLICY_DENIED, 0.0, False)
            metrics.agent_refused(f"spiffe://corp.example/{number}")

    for first in (0, 0, 50):
        thread = threading.Thread(target=refuse, args=(first,))
        thread.start()
        thread.join()

    found = refusals(samples(metrics))
    assert len(found) == MAX_NAMED_AGENTS + 1
    assert found["spiffe://corp.example/0"] == 2
    assert found["spiffe://corp.example/99"] == 3
    assert found[OTHER_AGENTS] == 50


def test_a_refused_agent_is_counted(world: World) -> None:
    """By its SPIFFE ID, remembered or not; an allow and an unknown caller count for nobody."""
    world.ask(world.token())
    world.check(check_request(None, [], principal=""))
    token = world.token(scope="another")
    for _ in range(2):
        world.ask(token)

    text = generate_latest(world.registry).decode()
    found = [line for line in text.splitlines() if line.startswith("authz_agent_refusals_total{")]
    assert found == [f'authz_agent_refusals_total{{agent="{TRAVEL}"}} 2.0']


def test_an_issuer_without_keys_has_no_age(metrics: Counted) -> None:
    """Keys that never came have no age: zero would look fresh."""
    key = ("authz_keys_age_seconds", (("issuer", "https://b.example"),))

    assert key not in samples(metrics)


def test_reloads(world: World) -> None:
    """Configs that were taken or refused are counted; only a taken one moves the time."""

    def look(text: str) -> tuple[float, ...]:
        (world.folder / "authz.yaml").write_text(text)
        wait_until(lambda: not world.reload.look())
        taken, refused = (
            world.registry.get_sample_value("authz_config_reloads_total", {"result": result})
            for result in ("taken", "refused")
        )
        at = world.registry.get_sample_value("authz_config_last_reload_timestamp_seconds")
        is_refused = world.registry.get_sample_value("authz_config_refused")
        return taken or 0.0, refused or 0.0, is_refused or 0.0, at or 0.0

    begun = world.reload.status().taken_at
    assert look("no config") == (0, 1, 1, begun)
    *counts, taken_at = look(world.config_text)
    assert counts == [1, 1, 0]
    assert begun < taken_at <= time.time()


@pytest.mark.parametrize("is_open", [False, True], ids=["prometheus", "openmetrics"])
def test_the_table_is_what_is_exported(metrics: Counted, is_open: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """FAMILIES and a server's scrape hold the same names, types, labels and helps, in both formats.

    The token service has the others: tests/server/test_token_service_serving.py scrapes it.
    """
    metrics.observe(None, 0.1, True)
    metrics.introspected("https://a.example", IntrospectionResult.ACTIVE, 0.1)
    metrics.exchanged("https://a.example", ExchangeResult.EXCHANGED, 0.1)
    metrics.status_list_fetched("https://a.example", StatusListResult.SUCCESS)
    metrics.agent_refused("spiffe://corp.example/travel")

    found = scraped(metrics.registry, is_open=is_open)

    assert found == tabled(of_token_service=False)


def test_counting_is_cheap(metrics: Counted) -> None:
    """A count takes a few steps of Python: nothing like a lock or a format."""
    assert steps_of(lambda: metrics.observe(None, 1e-4, True)) < 50


def test_status_lists(metrics: Counted) -> None:
    """Fetches are counted by issuer and result; the oldest list shows only where there is one."""
    metrics.status_list_fetched("https://a.example", StatusListResult.SUCCESS)
    metrics.status_list_fetched("https://a.example", StatusListResult.FAILURE)
    metrics.status_list_fetched("https://a.example", StatusListResult.FAILURE)
    found = samples(metrics)
    first, second = ("issuer", "https://a.example"), ("issuer", "https://b.example")
    fetches = "authz_status_list_fetches_total"
    assert found[fetches, (first, ("result", "success"))] == 1
    assert found[fetches, (first, ("result", "failure"))] == 2
    assert found[fetches, (first, ("result", "cut_off"))] == 0
    assert found["authz_status_lists", (first,)] == 3
    assert found["authz_status_lists", (second,)] == 0
    assert found["authz_status_list_oldest_timestamp_seconds", (first,)] == 5000
    assert ("authz_status_list_oldest_timestamp_seconds", (second,)) not in found
