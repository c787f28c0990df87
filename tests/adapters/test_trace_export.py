"""Sending spans: to a real collector, and to those that are away, slow, hostile or refusing."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from authz.adapters.receiver_settings import OtlpSettings, ReceiverTlsSettings
from authz.adapters.receivers.otlp import open_exporter
from authz.adapters.receivers.otlp_signals import TRACES
from authz.adapters.receivers.receiver import MAX_ANSWER_BYTES, ReceiverError
from authz.adapters.tracing import TracesSettings, exporter
from authz.adapters.tracing.exporter import MAX_BATCH, MAX_QUEUED, TRIES, TraceExporter
from authz.adapters.tracing.traced import TracedCheck
from authz.config import ConfigError, load_text
from authz.wiring.files import BuildError
from authz.wiring.tracing import open_tracer
from lab.ca import Authority
from lab.config_builder import LAB
from lab.mesh import CONFIG
from support.jwks_server import ScriptedServer, answer, held
from support.no_message import answering_nothing
from support.otlp_receiver import Receiver
from support.world import wait_until

CHECK = TracedCheck("s/M", "", "ab" * 16, 1.0, 0.5, b'{"agent":"spiffe://a"', None, True)
WORDS = "secret words of the collector"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A collector."""
    with Receiver() as running:
        yield running


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once."""
    monkeypatch.setattr(exporter, "PAUSE_SECONDS", 0.001)


@contextmanager
def exporting(url: str, **changes: Any) -> Iterator[TraceExporter]:
    """An exporter that runs, and is closed."""
    settings = {"endpoint": url, "insecure": True, "timeout": "60s", **changes}
    with closing(open_tracer(TracesSettings(otlp=OtlpSettings(**settings)))) as running:
        running.start()
        yield running


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_spans_reach_a_collector(receiver: Receiver, tmp_path: Path, protocol: str) -> None:
    """By either protocol they arrive, with the token as the file has it now and further headers."""
    token = tmp_path / "token"
    token.write_text("first")
    url = receiver.url if protocol == "grpc" else receiver.http_url
    headers = {"X-Tenant": "blue"}
    with exporting(url, protocol=protocol, token_file=str(token), headers=headers) as running:
        running.take(CHECK)
        wait_until(lambda: running.status().exported == 1)
        token.write_text("second")
        running.take(CHECK)
        wait_until(lambda: running.status().exported == 2)
    assert len(receiver.spans) == 2
    assert [one["authorization"] for one in receiver.headers] == ["Bearer first", "Bearer second"]
    assert all(one["x-tenant"] == "blue" for one in receiver.headers)
    assert not running.status().is_failing


@pytest.mark.parametrize("is_trusted", [True, False])
def test_tls(tmp_path: Path, *, is_trusted: bool) -> None:
    """Over TLS both sides show their certificates; a collector of another CA gets no span."""
    authority = Authority(tmp_path / "pki")
    theirs, ours = authority.issue(dns=("localhost",)), authority.issue(dns=("authz",))
    credentials = grpc.ssl_server_credentials(
        [(theirs.key_pem.encode(), theirs.certificate_pem.encode())],
        authority.path.read_bytes(),
        require_client_auth=True,
    )
    trusted = authority if is_trusted else Authority(tmp_path / "other")
    tls = {
        "ca_file": str(trusted.path),
        "client": {"certificate": str(ours.certificate_path), "private_key": str(ours.key_path)},
    }
    with Receiver(credentials) as receiver:
        with exporting(f"https://localhost:{receiver.port}", tls=tls, insecure=False) as running:
            running.take(CHECK)
            wait_until(lambda: running.status().exported or running.status().is_failing)
        assert len(receiver.spans) == is_trusted


@pytest.mark.usefixtures("hurried")
def test_a_collector_that_comes_back(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    """A batch is sent again until it is taken; the log says so without the collector's words."""
    receiver.code = grpc.StatusCode.UNAVAILABLE
    with exporting(receiver.url) as running:
        running.take(CHECK)
        wait_until(lambda: receiver.tries >= 2)
        assert running.status().is_failing
        receiver.code = None
        running.take(CHECK)
        wait_until(lambda: running.status().exported >= 1)
    assert not running.status().is_failing
    assert [one.message for one in caplog.records if one.levelname == "WARNING"] == [
        "spans can't be sent: traces.otlp: it answered UNAVAILABLE"
    ]
    assert WORDS not in caplog.text


@pytest.mark.parametrize(
    ("code", "tries"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, 1),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 1),  # without RetryInfo
        (grpc.StatusCode.UNAVAILABLE, TRIES),
    ],
)
@pytest.mark.usefixtures("hurried")
def test_tries_are_bounded(receiver: Receiver, code: grpc.StatusCode, tries: int) -> None:
    """What may not be sent again is tried once, and the rest a few times; then it is dropped."""
    receiver.code = code
    with exporting(receiver.url) as running:
        running.take(CHECK)
        wait_until(lambda: running.status().dropped == 1)
        assert receiver.tries == tries
        receiver.code = None
        running.take(CHECK)
        wait_until(lambda: running.status().exported == 1)


@pytest.mark.parametrize(("status", "tries"), [(400, 1), (413, 1), (429, TRIES), (503, TRIES)])
@pytest.mark.usefixtures("hurried")
def test_http_statuses(receiver: Receiver, status: int, tries: int) -> None:
    """Of HTTP's statuses those that OTLP names are tried again."""
    receiver.status = status
    with exporting(receiver.http_url, protocol="http") as running:
        running.take(CHECK)
        wait_until(lambda: running.status().dropped == 1)
    assert receiver.tries == tries


@pytest.mark.usefixtures("hurried")
def test_a_collector_that_asks_to_be_left_alone(receiver: Receiver) -> None:
    """A batch that it will take later is sent no sooner than it asks; a stop does not wait."""
    receiver.status, receiver.retry_after = 503, "100"
    with exporting(receiver.http_url, protocol="http") as running:
        running.take(CHECK)
        wait_until(lambda: running.status().is_failing)
    assert receiver.tries == 1
    assert running.status().dropped == 1


@pytest.mark.parametrize(("number", "rejected"), [(1, 1), (-5, 0), (2**62, 2)])
def test_a_batch_that_is_taken_in_part(
    receiver: Receiver, caplog: pytest.LogCaptureFixture, number: int, rejected: int
) -> None:
    """Refused spans are counted, never more than were sent; the answer's words are not logged."""
    told = ExportTraceServiceResponse()
    told.partial_success.rejected_spans = number
    told.partial_success.error_message = WORDS
    receiver.answer = told.SerializeToString()
    with exporting(receiver.url) as running:
        running._queue.extend([CHECK, CHECK])  # one batch
        wait_until(lambda: running.status().exported + running.status().rejected == 2)
        assert running.status().rejected == rejected
    assert WORDS not in caplog.text


@pytest.mark.parametrize("protocol", ["grpc", "http"])
@pytest.mark.parametrize("size", [100, 8 * MAX_ANSWER_BYTES])
@pytest.mark.usefixtures("hurried")
def test_an_answer_that_is_none(receiver: Receiver, protocol: str, size: int) -> None:
    """An answer that is no message, or one that is too large, is not read, and ends nothing."""
    receiver.answer = b"\xff" * size
    url = receiver.url if protocol == "grpc" else receiver.http_url
    with exporting(url, protocol=protocol) as running:
        running.take(CHECK)
        wait_until(lambda: running.status().exported + running.status().dropped == 1)
        receiver.answer = b""
        before = running.status().exported
        running.take(CHECK)
        wait_until(lambda: running.status().exported == before + 1)


def test_the_queue_is_bounded() -> None:
    """What finds it full is dropped, and counted."""
    otlp = OtlpSettings(endpoint="http://127.0.0.1:1", insecure=True)
    idle = TraceExporter(TracesSettings(otlp=otlp), open_exporter(otlp, TRACES))
    for _ in range(MAX_QUEUED + 5):
        idle.take(CHECK)
    assert idle.status().dropped == 5


def test_a_flood_is_sent_in_batches(receiver: Receiver) -> None:
    """No request has more checks than a batch, however many wait."""
    with exporting(receiver.url) as running:
        running._queue.extend([CHECK] * (MAX_BATCH + 1))
        wait_until(lambda: running.status().exported == MAX_BATCH + 1)
    sizes = [len(one.resource_spans[0].scope_spans[0].spans) for one in receiver.requests]
    assert sizes == [MAX_BATCH, 1]


def test_a_stop_sends_what_is_left(receiver: Receiver) -> None:
    """Spans that wait at a stop are sent before it is over."""
    with exporting(receiver.url) as running:
        running._queue.extend([CHECK] * (MAX_BATCH + 1))
    assert len(receiver.spans) == MAX_BATCH + 1


def test_an_answer_without_a_message(caplog: pytest.LogCaptureFixture) -> None:
    """An OK that brings no answer is a failure of the receiver's, which the log tells."""
    with answering_nothing(TRACES.method) as url, exporting(url) as running:
        running.take(CHECK)
        wait_until(lambda: running.status().is_failing)
    assert "it answered without a message" in caplog.text
    assert "internal error" not in caplog.text


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_an_address_that_is_refused(protocol: str) -> None:
    """Spans, and a token, go to no address where clouds hand out credentials."""
    url = "http://169.254.169.254/v1/traces"
    settings = {"endpoint": url if protocol == "http" else url.removesuffix("/v1/traces")}
    otlp = OtlpSettings.model_validate({**settings, "protocol": protocol, "insecure": True})
    opened = open_exporter(otlp, TRACES)
    with closing(opened), pytest.raises(ReceiverError, match="link-local"):
        opened.export(b"", 5.0)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_silent_collector_delays_neither_start_nor_stop(protocol: str) -> None:
    """One that accepts and never answers holds its thread, and neither a check nor a stop."""
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        path = "/v1/traces" if protocol == "http" else ""
        url = f"http://127.0.0.1:{silent.getsockname()[1]}{path}"
        with exporting(url, protocol=protocol) as running:
            running.take(CHECK)
            with closing(silent.accept()[0]):
                running.take(CHECK)
                running.close()  # with a call that would take another minute
        assert running.status().exported == 0


def test_a_stop_while_a_collector_thinks() -> None:
    """A stop does not wait for an answer that comes only after it."""
    stopped = threading.Event()
    server = ScriptedServer(held(stopped, answer(b"", content_type=None)))
    with closing(server):
        with exporting(server.url, protocol="http") as running:
            running.take(CHECK)
            wait_until(lambda: not running._queue)
        stopped.set()


def test_an_internal_fault_ends_nothing(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    """A batch that can't be encoded is dropped, told of by type, and the next is sent."""
    with exporting(receiver.url) as running:
        running._queue.append(TracedCheck("s/M", "", "no id", 1.0, 0.5, b"secret", None, True))
        wait_until(lambda: running.status().dropped == 1)
        running.take(CHECK)
        wait_until(lambda: running.status().exported == 1)
    assert "spans can't be sent: internal error: ValueError" in caplog.text
    assert "secret" not in caplog.text


def test_each_process_is_an_instance(receiver: Receiver) -> None:
    """Exporters with one config say one service name, and an instance id each."""
    for _ in range(2):
        with exporting(receiver.url) as running:
            running.take(CHECK)
    first, second = receiver.resources()
    assert first.keys() == {"service.name", "service.version", "service.instance.id"}
    assert first["service.name"] == second["service.name"] == "agent-authz"
    assert first["service.instance.id"] != second["service.instance.id"]


def problems(section: str) -> list[str]:
    """What is wrong with a traces section, each with its line."""
    text = CONFIG.format(
        socket="/s", admin_port=0, drain="1s", jwks_uri="http://127.0.0.1/k", audit="-"
    )
    with pytest.raises(ConfigError) as refused:
        load_text(LAB.with_section("traces", section).edit(text).encode(), "authz.yaml")
    return str(refused.value).splitlines()


HERE = "endpoint: 'http://127.0.0.1:4317', insecure: true"


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("{}", "traces.otlp"),
        ("{otlp: {endpoint: 'http://collector:4317'}}", "insecure: true"),
        ("{otlp: {endpoint: 'collector:4317'}}", "traces.otlp.endpoint"),
        (f"{{otlp: {{{HERE}}}, sampled: 1.5}}", "traces.sampled"),
        (f"{{otlp: {{{HERE}, headers: {{'x y': a}}}}}}", "'x y' is not a header"),
        (
            f"{{otlp: {{{HERE}, headers: {{'x-y': \"a\\nb\"}}}}}}",
            "the value of x-y must be visible",
        ),
        (f"{{otlp: {{{HERE}, headers: {{'x-bin': a}}}}}}", "'x-bin' is not a header"),
        (
            f"{{otlp: {{{HERE}, token_file: /t, headers: {{Authorization: a}}}}}}",
            "token_file sets authorization already",
        ),
    ],
)
def test_invalid_settings(section: str, words: str) -> None:
    """Each is an error with its line, and says what would be right."""
    told = problems(section)
    assert any(line.startswith("authz.yaml:") and words in line for line in told), told


def test_a_file_that_is_no_ca(tmp_path: Path) -> None:
    """A CA file without certificates is told when the server starts, not when it first sends."""
    file = tmp_path / "ca.pem"
    file.write_text("nothing")
    otlp = OtlpSettings(
        endpoint="https://collector:4317", tls=ReceiverTlsSettings(ca_file=str(file))
    )
    with pytest.raises(BuildError, match=r"traces\.otlp\.tls\.ca_file"):
        open_tracer(TracesSettings(otlp=otlp))


def test_without_the_extra() -> None:
    """Without the extra, the section is refused with the command that installs it."""
    code = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from authz.adapters.receiver_settings import OtlpSettings\n"
        "from authz.adapters.tracing import TracesSettings\n"
        "TracesSettings(otlp=OtlpSettings(endpoint='https://c:4317'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "traces need the extra otel, which is not installed" in done.stderr


def test_a_config_without_traces_loads_no_library_of_them() -> None:
    """Neither the settings nor the parts of a server load OpenTelemetry, nor gRPC for it."""
    code = (
        "import sys\n"
        "import authz.config, authz.wiring.parts, authz.edge.service\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
