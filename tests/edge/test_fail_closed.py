"""The first law: only an explicit Allow has status 0. Everything else refuses."""

import threading
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from authz._pb import ext_authz_pb2 as pb
from authz.core.decision import Agent, Deny
from authz.core.reason import Denied, Reason
from authz.core.request import MessageProtocol
from authz.core.spiffe import SpiffeId
from authz.edge.answered import UNREADABLE, Answered
from authz.edge.envoy.writer import check_response
from authz.edge.header_settings import HeaderSettings
from authz.edge.rendering import RenderedDecision
from authz.edge.response import Responder
from authz.transports.grpc.messages import PREFIX_BYTES
from lab.config_builder import AT_ISSUER, LAB
from lab.mesh import PAYMENTS, TRAVEL
from support.frames import Hostile, connected
from support.serving import Serving
from support.world import (
    BALANCE,
    PATIENCE_SECONDS,
    READ,
    World,
    check_request,
    reason_of,
    wait_until,
)

RELAXED = settings(
    max_examples=150,
    deadline=None,
)


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_refuses(reason: Reason) -> None:
    """Every reason makes a refusal with its status, for Envoy and for the client."""
    responder = Responder(HeaderSettings(), ("authorization",), ("ES256",))
    for deny in (Deny(reason), Deny(reason, agent=Agent(SpiffeId.parse(TRAVEL)))):
        rendered = RenderedDecision(responder.respond(deny, "v", MessageProtocol.NONE), b"", reason)
        raw = check_response(Answered(UNREADABLE, rendered, "a" * 32))
        answer = pb.CheckResponse.FromString(raw)

        assert answer.status.code != 0
        assert answer.denied_response.status.code == reason.http_status >= 400
        assert reason_of(answer) == reason.code


def test_reasons_agree_with_their_challenges() -> None:
    """A 401 has a challenge, our own faults have none, and codes are unique."""
    for reason in Reason:
        assert (reason.error is None) or reason.http_status in {400, 401, 403}
        assert reason.error is not None or reason.http_status != 401
    assert len({reason.code for reason in Reason}) == len(Reason)
    assert Reason.INTERNAL_ERROR.is_own_fault
    assert not Reason.SCOPE.is_own_fault


@RELAXED
@given(st.binary(max_size=400))
def test_any_bytes(shared_world: World, data: bytes) -> None:
    """Any bytes get an answer that refuses; those that are no check are the caller's fault."""
    answer = shared_world.check(data)

    assert answer.status.code != 0
    try:
        pb.CheckRequest.FromString(data)
    except DecodeError:
        assert reason_of(answer) == "check_malformed"
    else:
        assert reason_of(answer) not in ("check_malformed", "internal_error")


@pytest.mark.parametrize(
    "data", [b"\xff", b"\x0a\x05abc", b"\x0a" * 200, b"GET / HTTP/1.1\r\n\r\n"]
)
def test_no_check_is_no_fault_of_ours(shared_world: World, data: bytes) -> None:
    """Bytes that are no CheckRequest are 400 and check_malformed, in the record as well."""
    answer = shared_world.check(data)
    record = shared_world.audit_records()[-1]

    assert answer.denied_response.status.code == 400
    assert reason_of(answer) == record["reason"] == "check_malformed"
    assert not Reason.CHECK_MALFORMED.is_own_fault


@RELAXED
@given(
    method=st.sampled_from(["GET", "POST", "get", "", "GET ", "CONNECT"]) | st.text(max_size=8),
    path=st.sampled_from([BALANCE, "/public/x", "/", ""]) | st.text(max_size=40),
    host=st.sampled_from(["mcp.corp.example", "evil.example", ""]) | st.text(max_size=20),
    principal=st.sampled_from([TRAVEL, PAYMENTS, "", "CN=x"]) | st.text(max_size=40),
    token=st.booleans() | st.text(max_size=60),
    raw_headers=st.booleans(),
)
def test_any_request(  # noqa: PLR0917 - one argument for each part of a request
    shared_world: World,
    method: str,
    path: str,
    host: str,
    principal: str,
    token: bool | str,  # noqa: FBT001 - a parameter of cases
    raw_headers: bool,  # noqa: FBT001 - a parameter of cases
) -> None:
    """Whatever a request holds, it is allowed only if a plain reading of the lists allows it."""
    text = shared_world.token() if token is True else str(token or "")
    request = check_request(
        shared_world.svid,
        [("authorization", f"Bearer {text}")],
        method=method,
        path=path,
        host=host,
        principal=principal,
        raw_headers=raw_headers,
    )
    answer = shared_world.check(request)
    plain = path.partition("?")[0]
    may = (
        token is True
        and principal == TRAVEL
        and method == "GET"
        and (
            (host.lower().partition(":")[0] == "mcp.corp.example" and plain.startswith("/finance"))
            or plain.startswith("/public")
        )
    )

    if answer.status.code == 0:
        assert may
    else:
        reason_of(answer)


def test_an_empty_request(shared_world: World) -> None:
    """A request without attributes is refused as one that means nothing."""
    answer = shared_world.check(b"")

    assert reason_of(answer) == "path_ambiguous"
    assert answer.denied_response.status.code == 400


class _Failing:
    """A step that fails as a bug would."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def identify(self, *_: object) -> Any:
        raise self._error

    verify = grant = identify


@pytest.mark.parametrize("step", ["identity", "delegations", "policy"])
@pytest.mark.parametrize(
    "error", [RuntimeError("x"), KeyError("x"), RecursionError(), MemoryError()]
)
def test_a_failing_step(world: World, step: str, error: BaseException) -> None:
    """A step that raises what it should not is a deny, and says nothing of it to the client."""
    setattr(world.service.snapshot.authorizer, step, _Failing(error))
    answer = world.ask(world.token())

    assert reason_of(answer) == "internal_error"
    assert answer.denied_response.status.code == 503
    assert type(error).__name__ not in str(answer)


def test_a_failing_edge(world: World) -> None:
    """What fails behind the decision, in audit or metrics, is a deny too, and no exception."""
    world.service._metrics = None  # type: ignore[assignment]
    answer = world.ask(world.token())

    assert reason_of(answer) == "internal_error"


def test_keys_unavailable(tmp_path: Path) -> None:
    """Before the first key set, and after the last good one is too old, checks are refused."""
    with World(tmp_path, LAB.with_((*AT_ISSUER, "keys", "max_age"), "1s")) as world:
        wait_until(lambda: reason_of(world.ask(world.token())) == "allow")
        world.jwks.faults.status = 500
        wait_until(lambda: reason_of(world.ask(world.token())) == "keys_unavailable")
        other = world.token()

        assert reason_of(world.ask(other)) == "keys_unavailable"
        assert world.ask(other).denied_response.status.code == 503


def test_too_many_waiting_for_keys(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One agent may fill half of the places to wait for a key; others, and known keys, go on."""
    monkeypatch.setattr("authz.edge.learning.MAX_KEY_WAIT_SECONDS", PATIENCE_SECONDS)
    good = world.token()
    go_on = threading.Event()
    world.jwks.watch(lambda _: go_on.wait(PATIENCE_SECONDS), lambda _: None)
    unknown = world.token(header={"kid": "unknown"})
    payments = world.authority.issue(PAYMENTS)
    headers = [("authorization", f"Bearer {world.issuer.token(PAYMENTS, header={'kid': 'new'})}")]
    other = check_request(payments, headers, principal=PAYMENTS)
    reasons: list[str] = []
    threads = [
        threading.Thread(target=lambda: reasons.append(reason_of(world.ask(unknown))))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(reasons) == 6)
    assert reason_of(world.ask(good)) == "allow"
    threads.append(threading.Thread(target=lambda: reasons.append(reason_of(world.check(other)))))
    threads[-1].start()
    wait_until(lambda: world.parts.bulkhead.status().waiting == 3)
    assert reasons == ["overloaded"] * 6
    go_on.set()
    for thread in threads:
        thread.join()

    assert reasons[6:] == ["token_key_unknown"] * 3
    assert world.jwks.fetches == 2


def test_a_wait_for_keys_ends_before_the_caller_gives_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check that waits for a key answers within the caller's deadline."""
    given: list[float] = []
    refresh = world.keys.refresh

    def note(issuer: str, key_id: str, timeout_seconds: float) -> bool:
        given.append(timeout_seconds)
        return refresh(issuer, key_id, timeout_seconds)

    monkeypatch.setattr(world.keys, "refresh", note)
    go_on = threading.Event()
    world.jwks.watch(lambda _: go_on.wait(PATIENCE_SECONDS), lambda _: None)
    request = check_request(
        world.svid, [("authorization", f"Bearer {world.token(header={'kid': 'new'})}")]
    )
    answer = world.check(request, deadline=0.3)

    assert reason_of(answer) == "token_key_unknown"
    assert 0.2 < given[0] < 0.3
    go_on.set()


def test_audit_that_must_record(tmp_path: Path) -> None:
    """With when_full deny a decision that can't be recorded is refused; with drop it is counted."""
    change = LAB.with_keys(("audit",), "{queue: 1, when_full: deny}")
    with World(tmp_path, change) as world:
        request = check_request(world.svid, [("authorization", f"Bearer {world.token()}")])
        answers = [reason_of(world.check(request)) for _ in range(20)]

        assert answers[0] == "allow"
        assert "overloaded" in answers
        assert world.audit.status().dropped == answers.count("overloaded")


def test_denied_holds_no_default() -> None:
    """A refusal needs a reason, and carries what the challenge needs."""
    denied = Denied(Reason.SCOPE, "detail", parameters=(("scope", "a"),))

    assert denied.reason is Reason.SCOPE
    assert denied.parameters == (("scope", "a"),)


def test_overload_spares_what_is_remembered(tmp_path: Path) -> None:
    """While too many checks wait nothing new is decided; remembered decisions are answered."""
    limits = LAB.with_keys(("server",), "{threads: 2, max_queued: 1}")
    with World(tmp_path, limits) as world:
        known, pool, go_on = world.token(), world.parts.pool, threading.Event()
        assert reason_of(world.ask(known)) == "allow"
        for _ in range(3):  # one more than there are threads
            pool.submit(go_on.wait, PATIENCE_SECONDS)
        wait_until(lambda: pool.status().queued == 1)
        fresh = world.token()
        refused = world.ask(fresh)
        assert reason_of(world.ask(known)) == "allow"
        assert reason_of(refused) == "overloaded"
        assert refused.denied_response.status.code == 503
        go_on.set()
        wait_until(lambda: not pool.status().queued)

        assert reason_of(world.ask(fresh)) == "allow", "a refusal for overload is not remembered"


def test_too_late_to_decide(world: World) -> None:
    """A caller that is about to give up gets a 503 at once, or what is remembered."""
    known = world.token()
    request = check_request(world.svid, [("authorization", f"Bearer {known}")])

    assert reason_of(world.check(request, deadline=0.004)) == "overloaded"
    assert reason_of(world.check(request, deadline=0.5)) == "allow"
    assert reason_of(world.check(request, deadline=0.001)) == "allow"
    assert reason_of(world.check(request, deadline=None)) == "allow"


def test_a_flood_is_shed_and_known_tokens_are_served(tmp_path: Path) -> None:
    """Through a real server: hundreds of new tokens at once, and a known one is never refused."""
    with Serving(tmp_path, LAB.with_(("server", "max_queued"), 2)) as flooded:
        flooded.read_until("serving")
        tokens = [flooded.issuer.token(TRAVEL, scope=READ) for _ in range(401)]
        *messages, last = [
            check_request(flooded.svid, [("authorization", f"Bearer {token}")]).SerializeToString()
            for token in tokens
        ]
        with Hostile(connected(f"unix:{flooded.socket}")) as proxy:

            def reasons(streams: list[int]) -> set[str]:
                assert {proxy.ends(stream) for stream in streams} == {"0"}
                answers = [proxy.messages[stream][PREFIX_BYTES:] for stream in streams]
                return {reason_of(pb.CheckResponse.FromString(answer)) for answer in answers}

            assert reasons([proxy.call(messages[0])]) == {"allow"}
            proxy.widen(1 << 24)  # for all the answers
            # In one write, so that many are in each read; the known one is among them.
            flood, known = [], []
            for number, message in enumerate(messages[1:]):
                flood.append(proxy.prepare(message))
                if number % 8 == 0:
                    known.append(proxy.prepare(messages[0]))
            proxy.flush()
            of_known, of_flood = reasons(known), reasons(flood)
            # Few of a flood are decided, on a slow machine none; who comes after it is.
            after = reasons([proxy.call(last)])

    assert of_known == {"allow"}
    assert "overloaded" in of_flood
    assert of_flood <= {"allow", "overloaded"}
    assert after == {"allow"}
