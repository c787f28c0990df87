"""Records by OTLP, to receivers with the service of opentelemetry-proto, over gRPC and HTTP."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from authz.adapters.audit.sinks.batches import ATTEMPTS, MAX_IN_DOUBT
from authz.adapters.audit.sinks.otlp_sink import (
    MAX_REQUEST_BYTES,
    OtlpSink,
)
from authz.adapters.audit.sinks.sink import Sink
from authz.adapters.receiver_settings import OtlpSettings
from authz.adapters.receivers.otlp_signals import LOGS
from authz.adapters.receivers.otlp_verdict import (
    OURS_CODES,
    OURS_STATUSES,
    RETRYABLE_CODES,
    RETRYABLE_STATUSES,
)
from authz.adapters.receivers.receiver import ReceiverError
from lab.ca import Authority
from support.conformance.audit_sink import AuditSinkConformance, Destination
from support.no_message import answering_nothing
from support.otlp_logs_receiver import (
    Answer,
    GrpcReceiver,
    grpc_receiver,
    in_part,
    later,
    records_in,
)
from support.record_receiver import Received, RecordReceiver, Reply, always

LINE = b'{"decision":"allow","time":"2026-11-29T16:45:00Z"}\n'
POISON = b'{"decision":"poison"}\n'
SECRET = "a secret"


def grpc_sink(receiver: GrpcReceiver, **changes: object) -> OtlpSink:
    """Return a sink for a receiver."""
    plain = receiver.endpoint.startswith("http:")
    given = {"endpoint": receiver.endpoint, "insecure": plain, "timeout": "5s"}
    return OtlpSink(OtlpSettings.model_validate({**given, **changes}), "siem")


def http_sink(receiver: RecordReceiver, **changes: object) -> OtlpSink:
    """Return a sink for a receiver by HTTP."""
    plain = receiver.url.startswith("http:")
    given = {"endpoint": receiver.url, "protocol": "http", "insecure": plain, "timeout": "5s"}
    return OtlpSink(OtlpSettings.model_validate({**given, **changes}), "siem")


def http_records(received: Sequence[Received]) -> list[LogRecord]:
    """Return the records of these requests."""
    return [
        record
        for one in received
        for record in records_in(ExportLogsServiceRequest.FromString(one.body))
    ]


def bodies(records: Sequence[LogRecord]) -> list[str]:
    """Return the texts of records."""
    return [record.body.string_value for record in records]


@contextmanager
def http_receiver() -> Iterator[RecordReceiver]:
    """Run a receiver by HTTP."""
    receiver = RecordReceiver()
    try:
        yield receiver
    finally:
        receiver.stop()


class Collector:
    """A receiver that goes away and comes back."""

    def __init__(
        self,
        receiver: GrpcReceiver | RecordReceiver,
        sink: Sink,
        records: Callable[[], list[LogRecord]],
    ) -> None:
        """Take all."""
        self._receiver, self.sink, self._records = receiver, sink, records

    def lines(self) -> list[str]:
        """Return the bodies that arrived."""
        return bodies(self._records())

    def break_(self) -> None:
        """Stop the receiver."""
        self._receiver.stop()

    def mend(self) -> None:
        """Start it again."""
        self._receiver.start()


class TestGrpc(AuditSinkConformance):
    """OTLP/gRPC."""

    @contextmanager
    def destination(self, folder: Path) -> Iterator[Destination]:  # noqa: ARG002 - the port's
        """Return one."""
        with grpc_receiver() as receiver:
            yield Collector(receiver, grpc_sink(receiver), receiver.records)


class TestGrpcWithTls(AuditSinkConformance):
    """OTLP/gRPC with mutual TLS."""

    @contextmanager
    def destination(self, folder: Path) -> Iterator[Destination]:
        """Return one."""
        authority = Authority(folder / "pki")
        server, client = (
            authority.issue(dns=("localhost",)),
            authority.issue("spiffe://a.example/a"),
        )
        shown = {"certificate": str(client.certificate_path), "private_key": str(client.key_path)}
        with grpc_receiver((server, authority.path)) as receiver:
            sink = grpc_sink(receiver, tls={"ca_file": str(authority.path), "client": shown})
            yield Collector(receiver, sink, receiver.records)


class TestHttp(AuditSinkConformance):
    """OTLP/HTTP."""

    @contextmanager
    def destination(self, folder: Path) -> Iterator[Destination]:  # noqa: ARG002 - the port's
        """Return one."""
        with http_receiver() as receiver:
            yield Collector(
                receiver, http_sink(receiver), lambda: http_records(list(receiver.taken))
            )


# What both have: a script of answers, by code or status.


def sent(sink: OtlpSink, *lines: bytes) -> None:
    """Have the sink send lines. Raises OSError."""
    sink.take(b"".join(lines))
    sink.flush()


@pytest.mark.parametrize("code", sorted(RETRYABLE_CODES | OURS_CODES))
def test_grpc_codes_that_keep_records(code: str) -> None:
    """The retryable codes of OTLP/gRPC, and those about us, lose nothing; the next try sends it."""
    with grpc_receiver() as receiver:
        receiver.script = lambda _: grpc.StatusCode[code]
        sink = grpc_sink(receiver)
        with pytest.raises(ReceiverError, match=code) as told:
            sent(sink, LINE, LINE)
        assert SECRET not in str(told.value)
        assert (sink.waiting, sink.rejected) == (2, 0)
        receiver.script = lambda _: None
        sink.flush()
        sink.close()

        assert bodies(receiver.records()) == [LINE.decode().rstrip()] * 2


@pytest.mark.parametrize(
    "code",
    sorted(
        {code.name for code in grpc.StatusCode} - RETRYABLE_CODES - OURS_CODES - {"OK"},
    ),
)
def test_grpc_codes_that_refuse_records(code: str, caplog: pytest.LogCaptureFixture) -> None:
    """Other codes refuse for good: the line that causes them is counted, the others arrive."""

    def script(records: Sequence[LogRecord]) -> Answer:
        return grpc.StatusCode[code] if POISON.decode().rstrip() in bodies(records) else None

    with grpc_receiver() as receiver:
        receiver.script = script
        sink = grpc_sink(receiver)
        with caplog.at_level(logging.ERROR, "authz.audit"):
            sent(sink, *[LINE] * 9, POISON, *[LINE] * 20)
        sink.close()

        assert (sink.waiting, sink.rejected) == (0, 1)
        assert bodies(receiver.records()) == [LINE.decode().rstrip()] * 29
    assert f"siem refused 1 audit records for good: it answered {code}" in caplog.text
    assert SECRET not in caplog.text
    assert "poison" not in caplog.text


def test_grpc_answer_without_a_message() -> None:
    """An OK that brings no answer does not say that a collector took the records."""
    with answering_nothing(LOGS.method) as url:
        sink = OtlpSink(OtlpSettings(endpoint=url, insecure=True), "siem")
        with pytest.raises(ReceiverError, match="without a message"):
            sent(sink, LINE)
        assert (sink.waiting, sink.rejected) == (1, 0)
        sink.close()


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED])
def test_grpc_retry_info(code: grpc.StatusCode) -> None:
    """RetryInfo makes RESOURCE_EXHAUSTED retryable, and the collector is left alone so long."""
    with grpc_receiver() as receiver:
        receiver.script = lambda _: later(code, 120.5)
        sink = grpc_sink(receiver)
        with pytest.raises(ReceiverError) as told:
            sent(sink, LINE)
        receiver.script = lambda _: None
        with pytest.raises(ReceiverError, match="left alone"):
            sink.flush()
        sink.close()

        assert told.value.retry_after_seconds == 120.5
        assert (receiver.asked, sink.waiting) == (1, 1)


def test_grpc_retry_info_of_a_moment() -> None:
    """After the time that the collector names, the next try asks it."""
    with grpc_receiver() as receiver:
        receiver.script = lambda _: later(grpc.StatusCode.UNAVAILABLE, 0.001)
        sink = grpc_sink(receiver)
        with pytest.raises(ReceiverError):
            sent(sink, LINE)
        receiver.script = lambda _: None
        while sink.waiting:
            try:
                sink.flush()
            except ReceiverError as error:
                assert "left alone" in str(error)  # noqa: PT017 - any other error is a failure
        sink.close()

        assert len(receiver.records()) == 1


@pytest.mark.parametrize(("told", "counted"), [(0, 0), (2, 2), (-5, 0), (2**62, 3)])
def test_grpc_partial_success(told: int, counted: int, caplog: pytest.LogCaptureFixture) -> None:
    """Rejected records are counted, no more than were sent, and the request is not repeated."""
    with grpc_receiver() as receiver:
        receiver.script = lambda _: in_part(told)
        sink = grpc_sink(receiver)
        with caplog.at_level(logging.ERROR, "authz.audit"):
            sent(sink, LINE, LINE, LINE)
        sink.close()

        assert (sink.waiting, sink.rejected, receiver.asked) == (0, counted, 1)
    assert ("in part" in caplog.text) is bool(counted)
    assert SECRET not in caplog.text


def test_http_partial_success() -> None:
    """OTLP/HTTP tells it in the answer's body."""
    with http_receiver() as receiver:
        receiver.decide = always(Reply(200, body=in_part(2).SerializeToString()))
        sink = http_sink(receiver)
        sent(sink, LINE, LINE, LINE)
        sink.close()

        assert (sink.waiting, sink.rejected, len(receiver.requests)) == (0, 2, 1)


def test_http_answer_that_is_not_otlp() -> None:
    """A body that can't be read takes the request: the status says so."""
    with http_receiver() as receiver:
        receiver.decide = always(Reply(202, body=b"\xff\xff"))
        sink = http_sink(receiver)
        sent(sink, LINE)
        sink.close()

        assert (sink.waiting, sink.rejected) == (0, 0)


def test_http_answer_with_a_web_page() -> None:
    """A page is no collector's answer, whatever its status is: the lines wait."""
    with http_receiver() as receiver:
        receiver.decide = always(Reply(200, body=b"\n<!doctype html>"))
        sink = http_sink(receiver)
        with pytest.raises(ReceiverError, match="a web page"):
            sent(sink, LINE)
        sink.close()

        assert sink.waiting == 1


@pytest.mark.parametrize("status", sorted(RETRYABLE_STATUSES | OURS_STATUSES - {*range(309, 400)}))
def test_http_statuses_that_keep_records(status: int) -> None:
    """The retryable statuses of OTLP/HTTP, and those about us, lose nothing."""
    with http_receiver() as receiver:
        receiver.decide = always(Reply(status, body=SECRET.encode()))
        sink = http_sink(receiver)
        with pytest.raises(ReceiverError, match=f"status {status}"):
            sent(sink, LINE)
        assert (sink.waiting, sink.rejected) == (1, 0)
        receiver.decide = always(Reply(200))
        sink.flush()
        sink.close()

        assert bodies(http_records(receiver.taken)) == [LINE.decode().rstrip()]


@pytest.mark.parametrize("status", [400, 408, 413, 422, 500, 501])
def test_http_statuses_that_refuse_records(status: int) -> None:
    """Other statuses refuse for good: the line that causes them is counted, the others arrive."""

    def decide(received: Received) -> Reply:
        is_poisoned = POISON.decode().rstrip() in bodies(http_records([received]))
        return Reply(status if is_poisoned else 200)

    with http_receiver() as receiver:
        receiver.decide = decide
        sink = http_sink(receiver)
        sent(sink, POISON, *[LINE] * 6, POISON)
        sink.close()

        assert (sink.waiting, sink.rejected) == (0, 2)
        assert len(http_records(receiver.taken)) == 6


def test_http_retry_after() -> None:
    """Retry-After is obeyed: until then nothing is sent."""
    with http_receiver() as receiver:
        receiver.decide = always(Reply(429, {"retry-after": "100"}))
        sink = http_sink(receiver)
        with pytest.raises(ReceiverError) as told:
            sent(sink, LINE)
        with pytest.raises(ReceiverError, match="left alone"):
            sink.flush()
        sink.close()

        assert (told.value.retry_after_seconds, len(receiver.requests)) == (100.0, 1)


@pytest.mark.parametrize("status", [400, 500])
def test_a_collector_that_refuses_everything(status: int) -> None:
    """It costs no record while it may be the collector's fault; all arrive when it works again."""
    with http_receiver() as receiver:
        receiver.decide = always(Reply(status))
        sink = http_sink(receiver)
        with pytest.raises(ReceiverError, match=f"refuses every record: status {status}"):
            sent(sink, *[LINE] * 100)
        for _ in range(ATTEMPTS - 2):
            with pytest.raises(ReceiverError, match="refuses every record"):
                sink.flush()
        assert (sink.rejected, sink.waiting) == (0, 100)
        receiver.decide = always(Reply(200))
        sink.flush()
        sink.close()

        assert len(http_records(receiver.taken)) == 100


def test_lines_that_are_refused_for_minutes() -> None:
    """The first lines are given up after some attempts, so that a bad one does not block others."""
    with http_receiver() as receiver:
        receiver.decide = always(Reply(400))
        sink = http_sink(receiver)
        with pytest.raises(ReceiverError):
            sent(sink, *[LINE] * 100)
        for _ in range(ATTEMPTS - 1):
            with pytest.raises(ReceiverError):
                sink.flush()
        sink.close()

        assert (sink.rejected, sink.waiting) == (MAX_IN_DOUBT, 100 - MAX_IN_DOUBT)


def test_an_answer_about_another_line_ends_the_doubt() -> None:
    """A collector that goes away between refusals has refused none for good."""
    with http_receiver() as receiver:
        receiver.decide = lambda _: Reply(400 if len(receiver.requests) < 3 else 503)
        sink = http_sink(receiver)
        with pytest.raises(ReceiverError, match="status 503"):
            sent(sink, LINE, LINE)
        receiver.decide = always(Reply(200))
        sink.flush()
        sink.close()

        assert (sink.rejected, len(http_records(receiver.taken))) == (0, 2)


def test_requests_have_a_bound() -> None:
    """Many bytes of lines go in several requests, each below a receiver's usual limit."""
    long = b'{"detail":"%b"}\n' % (b"x" * 60_000)
    with grpc_receiver() as receiver:
        sink = grpc_sink(receiver)
        sent(sink, *[long] * 60)
        sink.close()

        assert len(receiver.records()) == 60
        assert all(one.ByteSize() < MAX_REQUEST_BYTES + 65_536 for one in receiver.requests)


def test_grpc_headers_and_token(tmp_path: Path) -> None:
    """A request has the config's headers and the token, as its file is then."""
    token = tmp_path / "token"
    with grpc_receiver() as receiver:
        sink = grpc_sink(receiver, token_file=str(token), headers={"X-Tenant": "corp"})
        with pytest.raises(ReceiverError, match="token_file"):
            sent(sink, LINE)
        token.write_text("first\n")
        sink.flush()
        assert receiver.metadata["authorization"] == "Bearer first"
        token.write_text("second\n")
        sent(sink, LINE)
        sink.close()

        assert receiver.metadata["authorization"] == "Bearer second"
        assert receiver.metadata["x-tenant"] == "corp"
        assert receiver.metadata["user-agent"].startswith("agent-authz")


def test_http_headers(tmp_path: Path) -> None:
    """A request is protobuf, with the config's headers and the token."""
    token = tmp_path / "token"
    token.write_text("first")
    with http_receiver() as receiver:
        sink = http_sink(receiver, token_file=str(token), headers={"X-Tenant": "corp"})
        sent(sink, LINE)
        sink.close()

        headers = receiver.requests[0].headers
        assert headers["content-type"] == "application/x-protobuf"
        assert (headers["authorization"], headers["x-tenant"]) == ("Bearer first", "corp")


@pytest.mark.parametrize(
    ("names", "trusts", "words"),
    [
        (("other.example",), True, "its certificate is for another name"),
        (("localhost",), False, "name the CA that made it in tls.ca_file"),
    ],
)
def test_grpc_with_a_wrong_certificate(
    tmp_path: Path, names: tuple[str, ...], words: str, *, trusts: bool
) -> None:
    """A collector whose certificate has another name, or is of another CA, gets nothing."""
    authority = Authority(tmp_path / "pki")
    trusted = authority if trusts else Authority(tmp_path / "other")
    with grpc_receiver((authority.issue(dns=names), None)) as receiver:
        sink = grpc_sink(receiver, tls={"ca_file": str(trusted.path)})
        with pytest.raises(ReceiverError, match=words):
            sent(sink, LINE)
        sink.close()

        assert (receiver.asked, sink.waiting) == (0, 1)


def test_grpc_trusts_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ca_file the system's CAs count, as OpenSSL finds them."""
    authority = Authority(tmp_path / "pki")
    with grpc_receiver((authority.issue(dns=("localhost",)), None)) as receiver:
        sink = grpc_sink(receiver)
        with pytest.raises(ReceiverError):
            sent(sink, LINE)
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))
        sink.flush()
        sink.close()

        assert len(receiver.records()) == 1


def test_grpc_collector_that_asks_for_a_certificate(tmp_path: Path) -> None:
    """Without the certificate that it asks for, the lines wait, and the message names it."""
    authority = Authority(tmp_path / "pki")
    with grpc_receiver((authority.issue(dns=("localhost",)), authority.path)) as receiver:
        sink = grpc_sink(receiver, tls={"ca_file": str(authority.path)})
        with pytest.raises(ReceiverError, match="may ask for a certificate"):
            sent(sink, LINE)
        sink.close()

        assert (receiver.asked, sink.waiting) == (0, 1)


def test_grpc_certificate_that_is_missing(tmp_path: Path) -> None:
    """A file that can't be read is told with its key, and the lines wait."""
    authority = Authority(tmp_path / "pki")
    shown = {"certificate": str(tmp_path / "none.pem"), "private_key": str(tmp_path / "none.key")}
    with grpc_receiver((authority.issue(dns=("localhost",)), authority.path)) as receiver:
        sink = grpc_sink(receiver, tls={"ca_file": str(authority.path), "client": shown})
        with pytest.raises(ReceiverError, match=r"none\.key can't be read"):
            sent(sink, LINE)
        sink.close()

        assert sink.waiting == 1


def test_grpc_key_of_another_certificate(tmp_path: Path) -> None:
    """A key that does not belong to the certificate is told as that, and the lines wait."""
    authority = Authority(tmp_path / "pki")
    one, other = authority.issue(dns=("one",)), authority.issue(dns=("other",))
    shown = {"certificate": str(one.certificate_path), "private_key": str(other.key_path)}
    with grpc_receiver((authority.issue(dns=("localhost",)), authority.path)) as receiver:
        sink = grpc_sink(receiver, tls={"ca_file": str(authority.path), "client": shown})
        with pytest.raises(ReceiverError, match="does not belong to the certificate"):
            sent(sink, LINE)
        sink.close()

        assert sink.waiting == 1


def test_grpc_slow_collector() -> None:
    """A collector that does not answer costs the timeout, and no line."""
    with grpc_receiver() as receiver:
        sink = grpc_sink(receiver, timeout="200ms")
        with receiver._lock, pytest.raises(ReceiverError, match="Timeout"):
            sent(sink, LINE)
        sink.close()

        assert sink.waiting == 1


def test_grpc_addresses_that_are_refused() -> None:
    """Records, and a token, go to no address where clouds hand out credentials."""
    sink = OtlpSink(OtlpSettings(endpoint="http://169.254.169.254:80", insecure=True), "siem")
    with pytest.raises(ReceiverError, match="link-local"):
        sent(sink, LINE)


def test_grpc_name_that_has_no_address() -> None:
    """It is told as such."""
    sink = OtlpSink(OtlpSettings(endpoint="http://collector.invalid", insecure=True), "siem")
    with pytest.raises(ReceiverError, match="can't look up the name"):
        sent(sink, LINE)
