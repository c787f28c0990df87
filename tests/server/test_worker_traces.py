"""Traces of a real server: each worker is an instance, and a scrape has exemplars of all."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from prometheus_client.core import Exemplar
from prometheus_client.exposition import choose_encoder, generate_latest

from authz.server.worker_metrics import newest, parse_exemplars, parse_samples
from lab.config_builder import LAB, ConfigBuilder
from support.otlp_receiver import Receiver, attributes_of
from support.serving import Serving
from support.world import World, wait_until

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
KEY = ("authz_decision_duration_seconds", "authz_decision_duration_seconds_bucket", ())


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A collector."""
    with Receiver() as running:
        yield running


def traced(url: str) -> ConfigBuilder:
    """A config that sends each decision's span there."""
    section = f"{{otlp: {{endpoint: '{url}', insecure: true}}, sampled: 1.0}}"
    return LAB.with_section("traces", section)


def scraped(serving: Serving) -> str:
    """A scrape in the form that has exemplars."""
    request = urllib.request.Request(
        f"http://{serving.admin}/metrics", headers={"accept": OPENMETRICS}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return str(response.read().decode())


def ask_worker(serving: Serving, number: int) -> None:
    """Ask one worker with bytes that are no message: a refusal, and a span."""
    with grpc.insecure_channel(f"unix:{serving.folder}/authz-{number}.sock") as channel:
        call = channel.unary_unary("/envoy.service.auth.v3.Authorization/Check", bytes, bytes)
        call(b"\xff", timeout=60, wait_for_ready=True)


def test_workers_are_instances(receiver: Receiver, tmp_path: Path) -> None:
    """Two workers say one service and two instances, and a scrape has exemplars of their spans."""
    with Serving(tmp_path, traced(receiver.url), workers=2) as serving:
        serving.read_until("all workers are up")
        for number in (0, 1):
            ask_worker(serving, number)
        wait_until(lambda: len(receiver.spans) == 2)
        text = scraped(serving)
        assert serving.stop() == 0
    named = {span.trace_id.hex() for span in receiver.spans}
    told = {line.partition('trace_id="')[2][:32] for line in text.splitlines() if " # {" in line}
    assert told
    assert told <= named
    assert 'authz_trace_spans_total{result="exported"} 2.0' in text
    first, second = receiver.resources()
    assert first["service.name"] == second["service.name"]
    assert first["service.instance.id"] != second["service.instance.id"]
    reasons = [attributes_of(span)["authz.reason"] for span in receiver.spans]
    assert reasons == ["check_malformed"] * 2


def test_a_collector_that_is_away(tmp_path: Path) -> None:
    """A server without its collector starts, answers and stops; its log is JSON, with one line."""
    with Serving(tmp_path, traced("http://127.0.0.1:1")) as serving:
        serving.read_until("serving")
        assert serving.ask() == "allow"
        lines = serving.read_until("spans can't be sent")
        assert serving.ask() == "allow"
        failing = serving.metric("authz_trace_export_failing")
        assert serving.stop() == 0
        assert serving.process.stderr is not None
        rest = [json.loads(line) for line in serving.process.stderr]
    assert failing == 1.0
    assert lines[-1]["logger"] == "authz.traces"
    assert not [one for one in rest if "spans" in one["message"]]


def test_both_forms_have_the_same_samples(receiver: Receiver, tmp_path: Path) -> None:
    """A worker's metrics in the form with exemplars are the samples of the other form."""
    with World(tmp_path, traced(receiver.url)) as world:
        world.ask(world.token())
        wait_until(lambda: receiver.spans)
        plain = generate_latest(world.registry).decode()
        encoder, _ = choose_encoder(OPENMETRICS)
        samples, exemplars = parse_exemplars(encoder(world.registry).decode())
    moving = ("authz_idle_seconds", "authz_keys_age_seconds", "authz_trace_spans")
    assert {key: value for key, value in samples.items() if key[0] not in moving} == {
        key: value for key, value in parse_samples(plain).items() if key[0] not in moving
    }
    ((family, sample, labels),) = exemplars
    assert (family, sample) == KEY[:2]
    assert dict(labels)["cache"] == "miss"


def test_the_latest_exemplar_of_several_workers() -> None:
    """Of each bucket's exemplars the latest counts, whichever worker has it."""
    older, newer = Exemplar({"trace_id": "a"}, 1.0, 5.0), Exemplar({"trace_id": "b"}, 1.0, 6.0)
    timeless = Exemplar({"trace_id": "c"}, 1.0)
    for workers in ([older, newer, timeless], [timeless, newer, older]):
        assert newest([{KEY: one} for one in workers]) == {KEY: newer}
    assert newest([]) == {}
