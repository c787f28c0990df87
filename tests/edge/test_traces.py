"""Traces of checks: which checks become spans, in whose trace, and what a span says."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from prometheus_client.exposition import choose_encoder

from authz.adapters.pdp.client import AuthzenClient
from authz.edge.agentgateway import McpGuardrails
from authz.wiring.policy_version import compute_policy_version
from lab.config_builder import LAB, ConfigBuilder
from lab.mesh import ISSUER, TRAVEL
from support import ext_mcp
from support.jwks_server import ScriptedServer, answer
from support.opaque_issuer import OpaqueIssuer
from support.otlp_receiver import Receiver, attributes_of
from support.world import PATIENCE_SECONDS, World, check_request, reason_of, wait_until

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
SAMPLED = f"00-{TRACE}-{PARENT}-01"
UNSAMPLED = f"00-{TRACE}-{PARENT}-00"
CHECK = "envoy.service.auth.v3.Authorization/Check"
NOT_A_PARENT = (
    f"00-{'0' * 32}-{PARENT}-01",
    f"00-{TRACE}-{'0' * 16}-01",
    f"ff-{TRACE}-{PARENT}-01",
    f"00-{TRACE.upper()}-{PARENT}-01",
    f"00-{TRACE}-{PARENT}-01,00-{TRACE}-{PARENT}-01",
    "x" * 5000,
    "",
)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A collector."""
    with Receiver() as running:
        yield running


def traced(receiver: Receiver, sampled: float = 0.0, changes: ConfigBuilder = LAB) -> ConfigBuilder:
    """A config that sends spans to the collector, and this share of remembered decisions."""
    otlp = f"{{endpoint: '{receiver.url}', insecure: true}}"
    return changes.with_section("traces", f"{{otlp: {otlp}, sampled: {sampled}}}")


def ask(world: World, token: str | None, trace: str = "", **changes: Any) -> str:
    """Ask for the balance, and return the reason."""
    headers = [] if token is None else [("authorization", f"Bearer {token}")]
    headers += [("traceparent", trace)] if trace else []
    return reason_of(world.check(check_request(world.svid, headers, **changes)))


def spans_of(receiver: Receiver, count: int) -> list[Span]:
    """Wait for that many spans, and return them."""
    wait_until(lambda: len(receiver.spans) >= count)
    assert len(receiver.spans) == count
    return receiver.spans


def test_what_is_decided_becomes_a_span_and_what_is_remembered_does_not(
    receiver: Receiver, tmp_path: Path
) -> None:
    """With a share of 0 each decision becomes a span once, and no use of it later."""
    with World(tmp_path, traced(receiver)) as world:
        token = world.token()
        assert [ask(world, token) for _ in range(3)] == ["allow"] * 3
        assert ask(world, None) == "token_missing"
    allowed, denied = spans_of(receiver, 2)
    assert attributes_of(allowed)["authz.decision"] == "allow"
    assert attributes_of(denied)["authz.decision"] == "deny"


def test_a_share_of_the_remembered(receiver: Receiver, tmp_path: Path) -> None:
    """With a share of 1 each remembered decision becomes a span too, and says so."""
    with World(tmp_path, traced(receiver, sampled=1.0)) as world:
        token = world.token()
        for _ in range(3):
            ask(world, token)
    found = [attributes_of(span)["authz.cache"] for span in spans_of(receiver, 3)]
    assert found == ["miss", "hit", "hit"]


def test_a_span_joins_the_callers_trace(receiver: Receiver, tmp_path: Path) -> None:
    """It has the trace and the parent of the traceparent; the parent is remote."""
    with World(tmp_path, traced(receiver, sampled=1.0)) as world:
        token = world.token()
        for _ in range(4):
            ask(world, token, SAMPLED)
    for span in spans_of(receiver, 4):
        assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
        assert span.flags == 0x301
    assert len({span.span_id for span in receiver.spans}) == 4


def test_the_callers_flag_decides(receiver: Receiver, tmp_path: Path) -> None:
    """A trace that the caller does not sample gets no span, remembered or not."""
    with World(tmp_path, traced(receiver, sampled=1.0)) as world:
        token = world.token()
        for _ in range(3):
            ask(world, token, UNSAMPLED)
        ask(world, None, UNSAMPLED)
        ask(world, token, SAMPLED)
    (span,) = spans_of(receiver, 1)
    assert attributes_of(span)["authz.cache"] == "hit"


@pytest.mark.parametrize("text", NOT_A_PARENT)
def test_an_invalid_traceparent_begins_a_trace(
    receiver: Receiver, tmp_path: Path, text: str
) -> None:
    """The trace begins here, and has the decision's id, by which its record is found."""
    with World(tmp_path, traced(receiver)) as world:
        ask(world, world.token(), text)
        (record,) = world.audit_records()
    (span,) = spans_of(receiver, 1)
    assert span.trace_id.hex() == record["decision_id"]
    assert not span.parent_span_id
    assert span.flags == 0x101
    assert record["trace_id"] in ("", text[3:35])  # the form alone counts there


def test_state_and_baggage_are_ignored(receiver: Receiver, tmp_path: Path) -> None:
    """What clients put beside the traceparent reaches no span, whatever it is and says."""
    hostile = "evil=" + "\x7f\xe9é" * 3000
    with World(tmp_path, traced(receiver)) as world:
        message = check_request(
            world.svid,
            [
                ("authorization", f"Bearer {world.token()}"),
                ("traceparent", SAMPLED),
                ("tracestate", hostile),
                ("baggage", hostile),
            ],
        )
        assert reason_of(world.check(message)) == "allow"
    (span,) = spans_of(receiver, 1)
    assert not span.trace_state
    assert b"evil" not in receiver.requests[0].SerializeToString()
    assert span.ByteSize() < 1000


def test_what_a_span_says(receiver: Receiver, tmp_path: Path) -> None:
    """It has the conventions' names for the call, ours for the decision, and its time."""
    before = time.time_ns()
    with World(tmp_path, traced(receiver)) as world:
        ask(world, world.token())
        (record,) = world.audit_records()
        version = world.service.snapshot.policy_version
    (span,) = spans_of(receiver, 1)
    assert (span.name, span.kind) == (CHECK, Span.SPAN_KIND_SERVER)
    assert attributes_of(span) == {
        "rpc.system.name": "grpc",
        "rpc.method": CHECK,
        "rpc.response.status_code": "OK",
        "authz.decision": "allow",
        "authz.cache": "miss",
        "authz.agent": TRAVEL,
        "authz.mode": "act",
        "authz.rule": record["rule"],
        "authz.policy_version": version,
        "authz.decision_id": record["decision_id"],
    }
    assert span.status.code == Status.STATUS_CODE_UNSET
    assert before <= span.start_time_unix_nano <= span.end_time_unix_nano <= time.time_ns()


def test_a_span_tells_nothing_about_the_person(receiver: Receiver, tmp_path: Path) -> None:
    """Neither the principal nor the path, the host or any part of the token is in it."""
    with World(tmp_path, traced(receiver)) as world:
        ask(world, world.token())
        ask(world, world.token(scope=""))
        ask(world, "made-up")
    spans_of(receiver, 3)
    sent = receiver.requests[0].SerializeToString()
    for secret in (b"alice", b"balance", b"mcp.corp.example", b"made-up", b"eyJ"):
        assert secret not in sent


def test_a_refusal_is_no_error_but_a_fault_of_ours_is(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal by policy leaves the status unset; a fault of the server sets it, and names it."""

    def fail(*_: object) -> None:
        raise RuntimeError("secret")

    with World(tmp_path, traced(receiver)) as world:
        assert ask(world, world.token(), method="DELETE") == "policy_denied"
        monkeypatch.setattr(world.service.snapshot.authorizer.policy, "evaluate", fail)
        assert ask(world, world.token()) == "internal_error"
        assert reason_of(world.check(b"\xff")) == "check_malformed"
    denied, broken, malformed = spans_of(receiver, 3)
    assert attributes_of(denied)["authz.reason"] == "policy_denied"
    assert denied.status.code == Status.STATUS_CODE_UNSET
    assert broken.status.code == Status.STATUS_CODE_ERROR
    assert attributes_of(broken)["error.type"] == "internal_error"
    assert attributes_of(malformed)["authz.reason"] == "check_malformed"
    assert b"secret" not in receiver.requests[0].SerializeToString()


def children(spans: list[Span]) -> list[Span]:
    """The spans of a check's waits, which are within it, and in its trace."""
    (parent,) = [span for span in spans if span.kind == Span.SPAN_KIND_SERVER]
    found = [span for span in spans if span is not parent]
    for child in found:
        assert child.kind == Span.SPAN_KIND_INTERNAL
        assert (child.trace_id, child.parent_span_id) == (parent.trace_id, parent.span_id)
        assert child.flags == 0x101
        assert child.end_time_unix_nano <= parent.end_time_unix_nano + 10**6  # two clocks
    return found


def test_a_wait_for_keys(receiver: Receiver, tmp_path: Path) -> None:
    """The check that waits for an issuer's new key has a child span with the issuer."""
    with World(tmp_path, traced(receiver)) as world:
        world.issuer.rotate("ES256")
        wait_until(lambda: ask(world, world.token()) == "allow")
    found = [span for span in receiver.spans if span.kind == Span.SPAN_KIND_INTERNAL]
    assert {span.name for span in found} == {"keys"}
    assert attributes_of(found[0]) == {"authz.issuer": ISSUER}


def test_a_wait_for_the_decision_point(receiver: Receiver, tmp_path: Path) -> None:
    """The question to the decision point is a child; one that fails is an error, a no is none."""
    point = ScriptedServer(answer(b'{"decision":false}', content_type="application/json"))
    section = f"{{url: '{point.url}', insecure: true}}"
    with World(tmp_path, traced(receiver).with_section("pdp", section)) as world:
        asked = world.service.snapshot.decision_point
        assert isinstance(asked, AuthzenClient)
        asked._settings = asked._settings.model_copy(update={"timeout": PATIENCE_SECONDS})
        assert ask(world, world.token()) == "policy_denied"
        (no,) = children(spans_of(receiver, 2))
        point.close()
        assert ask(world, world.token()) == "pdp_unavailable"
    failed = receiver.spans[-1]
    assert (no.name, failed.name) == ("decision point", "decision point")
    assert no.status.code == Status.STATUS_CODE_UNSET
    assert failed.status.code == Status.STATUS_CODE_ERROR
    assert attributes_of(failed)["error.type"] == "pdp_unavailable"


def test_a_wait_for_introspection(receiver: Receiver, tmp_path: Path) -> None:
    """The question about an opaque token is a child, with the issuer and no part of the token."""
    folder = tmp_path / "issuer"
    folder.mkdir()
    with OpaqueIssuer(folder) as issuer:
        token = issuer.user_tokens()["access_token"]
        with World(tmp_path, traced(receiver, changes=issuer.config())) as world:
            assert ask(world, token) == "allow"
        (child,) = children(spans_of(receiver, 2))
    assert child.name == "introspection answers"
    assert attributes_of(child) == {"authz.issuer": issuer.url}
    assert token.encode() not in receiver.requests[0].SerializeToString()


def test_the_other_dialect(receiver: Receiver, tmp_path: Path) -> None:
    """A call behind agentgateway is a span for each target, by the method that it called."""
    changes = traced(receiver, changes=ext_mcp.CHANGES)
    with World(tmp_path, changes) as world:
        guardrails = McpGuardrails(world.service)
        message = ext_mcp.request(
            "tools/call",
            {"name": "search"},
            token=world.token(),
            headers=[("traceparent", SAMPLED)],
        )
        begun = guardrails.check_request.begin(message.SerializeToString())
        assert not isinstance(begun, bytes)
        assert begun.decide(lambda: 60.0, may_wait=True)
        assert guardrails.check_response.begin(b"\xff")
    call, unreadable = spans_of(receiver, 2)
    assert call.name == "agentgateway.dev.ext_mcp.ExtMcp/CheckRequest"
    assert (call.trace_id.hex(), call.parent_span_id.hex()) == (TRACE, PARENT)
    assert unreadable.name == "agentgateway.dev.ext_mcp.ExtMcp/CheckResponse"


def exemplars(world: World) -> list[str]:
    """The exemplars of a scrape that asks for them."""
    encoder, _ = choose_encoder("application/openmetrics-text; version=1.0.0")
    scraped = encoder(world.registry).decode()
    return [line.partition(" # ")[2] for line in scraped.splitlines() if " # " in line]


@pytest.mark.parametrize("trace", [SAMPLED, ""])
def test_the_latency_has_traces_as_exemplars(
    receiver: Receiver, tmp_path: Path, trace: str
) -> None:
    """A bucket of the histogram names the trace of a check in it, if that has a span."""
    with World(tmp_path, traced(receiver)) as world:
        token = world.token()
        ask(world, token, UNSAMPLED)
        ask(world, world.token(), trace)
        wait_until(lambda: exemplars(world))
        (exemplar,) = exemplars(world)
    (span,) = spans_of(receiver, 1)
    assert exemplar.startswith(f'{{trace_id="{span.trace_id.hex()}"}} ')


def test_without_the_section_there_is_no_tracer(tmp_path: Path) -> None:
    """Traces are off by default: nothing keeps waits, and no check has an exemplar."""
    with World(tmp_path) as world:
        assert world.parts.tracer is None
        assert ask(world, world.token(), SAMPLED) == "allow"
        assert not exemplars(world)
        (record,) = world.audit_records()
        assert record["trace_id"] == TRACE


def test_traces_are_no_part_of_the_policys_version(receiver: Receiver, tmp_path: Path) -> None:
    """Whoever takes spans changes no decision, and so no version."""
    with World(tmp_path, traced(receiver)) as world:
        without = world.config.model_copy(update={"traces": None})
        assert compute_policy_version(world.config) == compute_policy_version(without)
