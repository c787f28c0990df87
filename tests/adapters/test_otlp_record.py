"""Lines as OpenTelemetry log records."""

import importlib
import json
import pkgutil
from collections.abc import Iterator
from typing import Any

import opentelemetry.semconv._incubating.attributes as experimental
import opentelemetry.semconv.attributes as stable
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.semconv.schemas import Schemas

from authz import __version__
from authz.adapters.audit.sinks.otlp_record import RequestWriter
from authz.adapters.audit.sinks.syslog_message import Originator
from authz.adapters.receivers.otlp_attributes import SCHEMA_URL
from support.otlp_logs_receiver import records_in

TRACE = "0af7651916cd43dd8448eb211c80319c"
FULL: dict[str, Any] = {
    "decision": "deny",
    "reason": "token_expired",
    "agent": "spiffe://corp.example/agent/travel",
    "principal": "alice",
    "mode": "act",
    "rule": "travel/book",
    "claims": {"time": "no time", "trace_id": "no trace"},
    "status": 401,
    "method": "POST",
    "host": "tools.corp.example:8443",
    "path": "/mcp",
    "protocol": "mcp",
    "calls": [{"method": "tools/call", "kind": "tool", "name": "book"}],
    "time": "2026-11-29T16:45:00.123456Z",
    "trace_id": TRACE,
}


def written(line: bytes) -> LogRecord:
    """Return the record of a line."""
    request = ExportLogsServiceRequest.FromString(RequestWriter().write([line]))
    (record,) = records_in(request)
    return record


def record(**members: object) -> LogRecord:
    """Return the record of a line with other members; None leaves one out."""
    given = {**members, **FULL, **members}  # what FULL lacks is first, as audit is in a real line
    line = {name: value for name, value in given.items() if value is not None}
    return written(json.dumps(line, separators=(",", ":")).encode())


def values(attributes: Iterator[KeyValue] | Any) -> dict[str, str | int]:
    """Return attributes as a dictionary; each stands once."""
    pairs = [(one.key, _value(one.value)) for one in attributes]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def _value(value: AnyValue) -> str | int:
    kind = value.WhichOneof("value")
    assert kind in {"string_value", "int_value"}
    found: str | int = getattr(value, kind)
    return found


def conventional_names() -> set[str]:
    """Return every attribute that the semantic conventions name."""
    names: set[str] = set()
    for package in (stable, experimental):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            members = vars(importlib.import_module(module.name))
            names |= {text for name, text in members.items() if name.isupper() and _is_text(text)}
    return names


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def test_a_full_record() -> None:
    """A record has time, severity, trace, and what the conventions have a name for."""
    got = record()

    assert values(got.attributes) == {
        "gen_ai.agent.id": "spiffe://corp.example/agent/travel",
        "url.path": "/mcp",
        "error.type": "token_expired",
        "security_rule.name": "travel/book",
        "user.id": "alice",
        "http.response.status_code": 401,
        "http.request.method": "POST",
        "server.address": "tools.corp.example",
        "server.port": 8443,
        "mcp.method.name": "tools/call",
        "gen_ai.tool.name": "book",
    }
    assert got.time_unix_nano == 1_795_970_700_123_456_000
    assert got.observed_time_unix_nano > 1_600_000_000_000_000_000
    assert (got.severity_number, got.severity_text) == (13, "WARN")
    assert got.trace_id.hex() == TRACE
    assert got.event_name == "authz.decision"


def test_names_are_the_conventions() -> None:
    """Each attribute is one of the semantic conventions, in the version that is declared."""
    hashed = record(principal="hmac:abc", method="BREW", calls=[])
    request = ExportLogsServiceRequest.FromString(RequestWriter().write([b"{}"]))
    (logs,) = request.resource_logs
    kinds = [
        record(calls=[{"method": "x", "kind": kind, "name": "n"}])
        for kind in ("tool", "prompt", "resource", "model")
    ]
    used = {one.key for got in (record(), hashed, *kinds) for one in got.attributes}
    used |= {one.key for one in logs.resource.attributes}

    assert used - conventional_names() == set()
    assert [one.value for one in Schemas][-1] == SCHEMA_URL
    assert (logs.schema_url, logs.scope_logs[0].schema_url) == (SCHEMA_URL, SCHEMA_URL)


def test_the_process() -> None:
    """The resource is the process, and the scope the audit log."""
    request = ExportLogsServiceRequest.FromString(RequestWriter().write([b"{}"]))
    (logs,) = request.resource_logs
    named = values(logs.resource.attributes)

    assert (named["service.name"], named["service.version"]) == ("agent-authz", __version__)
    assert set(named) == {"service.name", "service.version", "host.name", "process.pid"}
    assert (logs.scope_logs[0].scope.name, logs.scope_logs[0].scope.version) == (
        "authz.audit",
        __version__,
    )


@given(st.binary().filter(lambda line: b"\n" not in line))
def test_any_line_is_the_body(line: bytes) -> None:
    """Whatever a line is, it is sent, byte for byte: as text, or as bytes that are not UTF-8."""
    body = written(line).body

    assert (body.string_value.encode() or body.bytes_value) == line


@given(
    st.dictionaries(
        st.sampled_from([*FULL, "audit", "span_id"]),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text()),
    )
)
def test_odd_members(members: dict[str, object]) -> None:
    """A line with members of other types is sent too."""
    line = json.dumps(members).encode()

    assert written(line).body.string_value.encode() == line


def test_the_body_of_a_chained_record() -> None:
    """A body is the line that the log's tree has hashed, whatever characters it has."""
    line = (
        '{"decision":"allow","detail":"käse €","time":"2026-11-29T16:45:00Z","log":"a","index":7}'
    )

    assert written(line.encode()).body.string_value == line


@pytest.mark.parametrize(
    ("members", "severity", "event"),
    [
        ({"decision": "allow"}, 9, "authz.decision"),
        ({"audit": "opened", "decision": None, "reason": None}, 9, "authz.audit.opened"),
        ({"audit": "checkpoint", "decision": None}, 9, "authz.audit.checkpoint"),
        ({"audit": "dropped", "decision": None}, 13, "authz.audit.dropped"),
        ({"audit": "gap", "decision": None}, 13, "authz.audit.gap"),
        ({"audit": "closed", "decision": None, "reason": "stopped"}, 9, "authz.audit.closed"),
        ({"audit": "closed", "decision": None, "reason": "crashed"}, 13, "authz.audit.closed"),
        ({"audit": "Odd One", "decision": None}, 9, "authz.audit"),
    ],
)
def test_severity_and_event(members: dict[str, object], severity: int, event: str) -> None:
    """Denies and losses are warnings; the clerk's own lines have event names of their own."""
    got = record(**members)

    assert (got.severity_number, got.event_name) == (severity, event)


@pytest.mark.parametrize(
    ("members", "absent", "present"),
    [
        ({"mode": "autonomous"}, {"user.id"}, {}),
        ({"principal": "hmac:abc"}, {"user.id"}, {"user.hash": "hmac:abc"}),
        ({"principal": ""}, {"user.id", "user.hash"}, {}),
        ({"calls": []}, {"mcp.method.name", "gen_ai.tool.name"}, {}),
        ({"calls": FULL["calls"] * 2}, {"mcp.method.name", "gen_ai.tool.name"}, {}),
        ({"status": None}, {"http.response.status_code"}, {}),
        ({"reason": ""}, {"error.type"}, {}),
        (
            {"method": "brew"},
            set(),
            {"http.request.method": "_OTHER", "http.request.method_original": "brew"},
        ),
        ({"host": "tools"}, {"server.port"}, {"server.address": "tools"}),
        ({"host": "[::1]:80"}, set(), {"server.address": "::1", "server.port": 80}),
        ({"host": "::1"}, {"server.port"}, {"server.address": "::1"}),
        (
            {"protocol": "openai", "calls": [{"method": "m", "kind": "model", "name": "gpt"}]},
            {"mcp.method.name"},
            {"gen_ai.request.model": "gpt"},
        ),
    ],
)
def test_attributes(
    members: dict[str, object], absent: set[str], present: dict[str, object]
) -> None:
    """An attribute is left out where the record has no value that it means."""
    got = values(record(**members).attributes)

    assert not absent & set(got)
    assert present.items() <= got.items()


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("trace_id", ""),
        ("trace_id", "0" * 32),
        ("trace_id", TRACE[:30]),
        ("trace_id", TRACE.upper()),
        ("span_id", "0" * 16),
        ("time", "yesterday"),
        ("time", "2026-11-29T16:45:00"),
        ("time", "1950-01-01T00:00:00Z"),
    ],
)
def test_values_that_are_unknown(member: str, value: str) -> None:
    """A time or an ID without a valid form is unknown."""
    got = record(**{member: value})

    assert not {"trace_id": got.trace_id, "span_id": got.span_id, "time": got.time_unix_nano}[
        member
    ]


def test_the_time_of_lost_records() -> None:
    """A line of the clerk's that tells of lost records has the time of the last one."""
    line = b'{"audit":"dropped","count":2,"until":"1970-01-01T00:00:02Z","log":"a","index":1}'

    assert written(line).time_unix_nano == 2_000_000_000


def test_span_id() -> None:
    """A record with a span has it."""
    assert written(b'{"time":"","span_id":"b7ad6b7169203331"}').span_id.hex() == "b7ad6b7169203331"


@pytest.mark.parametrize(
    "line",
    [
        b'{"decision":"allow","agent":"\xff\xfe","time":"\xff"}',
        b'{"decision":"allow","claims":' + b"[" * 100_000 + b"]" * 100_000 + b',"time":"x"}',
        b'{"time":' + b"[" * 100_000,
    ],
)
def test_a_line_that_a_disk_has_changed(line: bytes) -> None:
    """A damaged line of a spool is sent as it is, and holds up no other; by syslog too."""
    (record,) = records_in(ExportLogsServiceRequest.FromString(RequestWriter().write([line])))
    assert line in (record.body.bytes_value, record.body.string_value.encode())
    assert Originator(13, "a", 1).frame(line, 1).endswith(line)
