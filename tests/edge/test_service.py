"""The edge: injected headers, metadata, audit records, and the cache of decisions."""

import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz._pb import ext_authz_pb2 as pb
from authz.adapters.audit import AuditSettings
from authz.adapters.audit.log import AuditLog
from authz.adapters.audit.records.line import AuditLine
from authz.adapters.audit.records.record import (
    AuditOperation,
    AuditRecord,
    encode_operation,
    encode_record,
)
from authz.core.bounded_map import BoundedMap
from authz.core.request import Call, Request
from authz.edge.cache import CacheEntry, DecisionCache
from authz.edge.cache_settings import CacheSettings
from authz.edge.envoy.reader import read_check
from authz.edge.envoy.writer import OVERWRITE
from authz.edge.identity_headers import escaped
from authz.edge.inputs import RequestInputs
from authz.edge.rendering import RenderedDecision
from authz.edge.response import Response
from lab.config_builder import AT_ISSUER, LAB
from lab.mesh import ISSUER, ORCHESTRATOR, PAYMENTS, TRAVEL
from support.world import (
    BALANCE,
    LIFETIMES_SECONDS,
    READ,
    World,
    check_request,
    header_of,
    reason_of,
    wait_until,
)


def test_every_owned_name_is_set_or_removed_never_both(shared_world: World) -> None:
    """Each identity header is in one list, its underscore twins and the token among the removed."""
    answer = shared_world.ask(shared_world.token(scope=READ))
    options = answer.ok_response.headers
    set_names = [option.header.key for option in options]
    removed = list(answer.ok_response.headers_to_remove)
    owned = {f"x-agent-{n}" for n in ("id", "principal", "issuer", "scope", "chain", "decision-id")}

    assert all(option.append_action == OVERWRITE for option in options)
    assert set(set_names) | (set(removed) & owned) == owned
    assert not set(set_names) & set(removed)
    assert len(set_names) == len(set(set_names))
    assert {"x_agent_id", "x-agent_id", "x_agent-id", "x_agent_decision_id"} <= set(removed)
    assert "authorization" in removed
    assert all(option.header.value and not option.header.raw_value for option in options)


def test_forwarded_token(tmp_path: Path) -> None:
    """The token reaches the upstream only where the config says so."""
    with World(tmp_path, LAB.with_section("token", "{forward: true}")) as world:
        answer = world.ask(world.token())

        assert "authorization" not in answer.ok_response.headers_to_remove


def test_own_token_header(tmp_path: Path) -> None:
    """A configured header without a scheme carries the token, and is the one that is stripped."""
    change = LAB.with_section("token", "{header: x-delegation, scheme: ''}")
    with World(tmp_path, change) as world:
        request = check_request(world.svid, [("x-delegation", world.token())])
        answer = world.check(request)

        assert reason_of(answer) == "allow"
        assert "x-delegation" in answer.ok_response.headers_to_remove
        assert reason_of(world.ask(world.token())) == "token_missing"


def test_metadata(shared_world: World) -> None:
    """Dynamic metadata tells the proxy what was decided, and how long that holds."""
    chain = {"sub": TRAVEL, "act": {"sub": ORCHESTRATOR}}
    answer = shared_world.ask(shared_world.token(act=chain, exp=int(time.time()) + 20))
    metadata = answer.dynamic_metadata

    assert metadata["decision"] == "allow"
    assert metadata["agent"] == TRAVEL
    assert metadata["principal"] == "alice"
    assert metadata["issuer"] == ISSUER
    assert metadata["chain"] == ORCHESTRATOR
    assert metadata["rule"] == "finance-read/0"
    assert metadata["cache"] == "miss"
    assert metadata["policy_version"] == shared_world.service.snapshot.policy_version
    assert abs(float(str(metadata["valid_until"])) - time.time() - 20) < 5
    assert metadata["decision_id"] == header_of(answer, "x-agent-decision-id")


def test_valid_until(tmp_path: Path) -> None:
    """A proxy may go by an answer for no longer than we do: ttl, token, and never by a deny."""
    with World(tmp_path, LAB.with_section("cache", "{ttl: 7s}")) as world:
        now = time.time()
        token, short = world.token(exp=int(now) + 300), world.token(exp=int(now) + 4)
        until = [
            float(str(world.ask(one).dynamic_metadata["valid_until"]))
            for one in (token, token, short, "no.token.here")
        ]

        assert abs(until[0] - now - 7) < 1
        assert until[1] == until[0]
        assert until[2] == int(now) + 4
        assert until[3] == 0.0


def test_values_are_escaped_to_visible_ascii(shared_world: World) -> None:
    """A principal of any script reaches the upstream as ASCII from which it can be read back."""
    answer = shared_world.ask(shared_world.token(sub="J\u00fcrgen 100%", groups=["readers"]))

    assert header_of(answer, "x-agent-principal") == "J%C3%BCrgen 100%25"


@given(st.text())
def test_escaping_can_be_undone(text: str) -> None:
    """Escaped text is visible ASCII, and unquoting gives the text back."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    value = escaped(text)

    assert all(" " <= char <= "~" for char in value)
    assert unquote(value) == text
    assert value == value.strip(" ")


@pytest.mark.parametrize(
    ("text", "value"),
    [(" alice", "%20alice"), ("a  b  ", "a  b%20%20"), ("  ", "%20%20"), ("a b", "a b")],
)
def test_blanks_around_a_value_stay(shared_world: World, text: str, value: str) -> None:
    """A principal with a blank around its name is not the one without, to whoever reads headers."""
    answer = shared_world.ask(shared_world.token(sub=text, groups=["readers"]))

    assert header_of(answer, "x-agent-principal") == value


def test_denies_tell_the_client_little(shared_world: World) -> None:
    """A refusal's body has the reason, its words and the id; no rule, no agent, no token."""
    token = shared_world.token(scope="x")
    answer = shared_world.ask(token)
    body = answer.denied_response.body

    assert body.startswith("scope: the token's scope does not allow this\ndecision: ")
    assert len(body.split("decision: ")[1].strip()) == 32
    for secret in ("finance-read", TRAVEL, "alice", token.split(".")[1]):
        assert secret not in body
        assert secret not in str(answer.denied_response.headers)


def test_audit_record(world: World) -> None:
    """An audit record names who, for whom, what, why and ids; never the query or the token."""
    headers = [
        ("authorization", f"Bearer {world.token()}"),
        ("x-request-id", "req-\u2028\x7f\x1b[31m"),
        ("traceparent", "00-" + "a" * 32 + "-" + "b" * 16 + "-01"),
    ]
    world.check(check_request(world.svid, headers, path=f"{BALANCE}?secret=1"))
    world.ask(world.token(sub="mallory"))
    allow, deny = world.audit_records()

    assert (allow["decision"], allow["reason"], allow["rule"]) == ("allow", "", "finance-read/0")
    assert (allow["agent"], allow["principal"], allow["issuer"]) == (TRAVEL, "alice", ISSUER)
    assert (allow["method"], allow["path"]) == ("GET", BALANCE)
    assert allow["actors"] == [{"iss": ISSUER, "sub": TRAVEL}]
    assert allow["trace_id"] == "a" * 32
    assert allow["request_id"] == "req-\u2028\x7f\x1b[31m"
    assert allow["time"].endswith("Z")
    assert (deny["decision"], deny["reason"], deny["principal"]) == (
        "deny",
        "policy_denied",
        "mallory",
    )
    assert deny["detail"] == "no entry of principals matches the principal through this agent"
    text = world.audit_path.read_text()
    assert "secret" not in text
    assert not any(char in text for char in "\u2028\x7f\x1b")


def test_cache_hit_is_the_same_answer(world: World) -> None:
    """A remembered decision is the same answer but for its id and the word hit."""
    token = world.token()
    first, second = world.ask(token), world.ask(token)

    assert second.dynamic_metadata["cache"] == "hit"
    assert header_of(first, "x-agent-decision-id") != header_of(second, "x-agent-decision-id")
    for answer in (first, second):
        answer.ClearField("dynamic_metadata")
        for option in answer.ok_response.headers:
            if option.header.key == "x-agent-decision-id":
                option.header.value = ""
    assert first == second


def test_cache_never_outlives_the_token(tmp_path: Path) -> None:
    """A remembered allow ends with its token, and a new look at it says so."""
    with World(tmp_path) as world:
        for seconds in LIFETIMES_SECONDS:
            now = int(time.time())  # the clock skew allowed is 30 s
            token = world.token(iat=now - 60, exp=now - 31 + seconds)
            if reason_of(world.ask(token)) == "allow":
                break
        assert world.ask(token).dynamic_metadata["cache"] == "miss"
        wait_until(lambda: reason_of(world.ask(token)) != "allow")
        assert reason_of(world.ask(token)) == "token_expired"
        assert time.time() >= now - 1 + seconds


def test_cache_ends_with_the_key(tmp_path: Path) -> None:
    """A removed key stops the cached decisions that it signed within one refresh."""
    with World(tmp_path, LAB.with_((*AT_ISSUER, "keys", "refresh"), "1s")) as world:
        token = world.token()
        world.ask(token)
        assert world.ask(token).dynamic_metadata["cache"] == "hit"
        old = world.issuer.current
        world.issuer.rotate()
        del world.issuer.keys[old.key_id]
        wait_until(lambda: reason_of(world.ask(token)) != "allow")

        assert reason_of(world.ask(token)) == "token_key_unknown"


def test_cache_off(tmp_path: Path) -> None:
    """With no entries nothing is remembered."""
    with World(tmp_path, LAB.with_section("cache", "{entries: 0}")) as world:
        token = world.token()

        assert [world.ask(token).dynamic_metadata["cache"] for _ in range(2)] == ["miss", "miss"]


def test_cache_is_bounded_and_keeps_what_is_used() -> None:
    """However many come, entries stay bounded, and one in use stays."""
    cache: BoundedMap[str, int] = BoundedMap(100, 10**9, lambda _, __: 1)
    cache.put("hot", 1)
    for number in range(10_000):
        cache.put(str(number), number)
        if number % 10 == 0:
            assert cache.get("hot") == 1
        assert len(cache) <= 101


def test_cache_is_bounded_in_bytes_too() -> None:
    """Large values push out sooner, and one that is larger than a half is not kept at all."""
    cache: BoundedMap[int, bytes] = BoundedMap(10**6, 10_000, lambda _, value: len(value))
    for number in range(1000):
        cache.put(number, b"x" * (number % 3000))
        assert cache.bytes <= 10_000
        assert cache.bytes >= sum(len(cache.get(n) or b"") for n in range(number, number - 2, -1))
    cache.put(-1, b"x" * 5001)

    assert cache.get(-1) is None
    assert cache.get(999) is not None


def test_cache_entry_conditions() -> None:
    """An entry is good only before both ends and in its own generation."""
    cache = DecisionCache(CacheSettings())
    rendered = RenderedDecision(Response(None, (), ()), b"", None)
    entry = CacheEntry(rendered, b"", valid_until=100.0, fresh_until=50.0, generation=3)
    request = Request("GET", "h", "/")
    cache.put(request, entry)

    assert cache.get(request, 99.9, 49.9, 3) is entry
    assert cache.get(request, 100.0, 49.9, 3) is None
    assert cache.get(request, 99.9, 50.0, 3) is None
    assert cache.get(request, 99.9, 49.9, 4) is None


def test_a_remembered_request_counts_with_its_texts() -> None:
    """What a client makes long is counted, whichever text it is, and wide characters as such."""
    long = "\U0001f600" + "x" * 1000
    entry = CacheEntry(RenderedDecision(Response(None, (), ()), b"", None), b"", 100.0, 50.0, 3)
    for request in (
        Request(long, "", ""),
        Request("", long, ""),
        Request("", "", long),
        Request("", "", "", (("authorization", long),)),
        Request("", "", "", principal=long),
        Request("", "", "", certificate=long),
        Request("", "", "", metadata=(("", b"x" * 4000),)),
        Request("", "", "", calls=(Call(long),)),
        Request("", "", "", calls=(Call("", name=long),)),
        Request("", "", "", calls=(Call("", arguments=b"x" * 4000),)),
    ):
        cache = DecisionCache(CacheSettings(max_bytes=8000))
        cache.put(request, entry)
        assert cache.status().entries == 0

    cache.put(Request("", "", "x"), entry)
    assert cache.status().entries == 1


@given(st.lists(st.tuples(st.text(max_size=6), st.text(max_size=6)), min_size=2, max_size=2))
def test_cache_keys_do_not_collide(pairs: list[tuple[str, str]]) -> None:
    """Requests that differ anywhere have different entries, however their texts are cut."""
    cache = DecisionCache(CacheSettings())
    kept, asked = [Request(method=a, host=b, path="") for a, b in pairs]
    entry = CacheEntry(RenderedDecision(Response(None, (), ()), b"", None), b"", 100.0, 50.0, 3)
    cache.put(kept, entry)

    assert (cache.get(asked, 1.0, 1.0, 3) is entry) == (pairs[0] == pairs[1])


def test_requests_share_their_long_texts() -> None:
    """Requests with one token and one certificate hold each once, however many are remembered."""
    inputs = RequestInputs(frozenset({"authorization"}))
    headers = [("authorization", "t" * 900)]
    first, second = (
        read_check(inputs, check_request(None, headers, certificate="c" * 900)).request
        for _ in range(2)
    )

    assert first == second
    assert first.headers is second.headers
    assert first.certificate is second.certificate


def test_a_query_is_no_part_of_the_cache_key_but_for_its_token_rule(world: World) -> None:
    """Of a query only whether it holds a credential is read: so another one is a hit."""
    token = world.token()
    world.ask(token, path=f"{BALANCE}?a=1")

    assert world.ask(token, path=f"{BALANCE}?a=2").dynamic_metadata["cache"] == "hit"
    assert reason_of(world.ask(token, path=f"{BALANCE}?access_token=2")) == "auth_ambiguous"


def test_a_token_of_another_agent_is_not_served_from_cache(world: World) -> None:
    """An allow for one agent never answers another."""
    token = world.token()
    assert reason_of(world.ask(token)) == "allow"
    other = world.authority.issue(PAYMENTS)
    request = check_request(other, [("authorization", f"Bearer {token}")], principal=PAYMENTS)

    assert reason_of(world.check(request)) == "actor_mismatch"


def test_ids_for_correlation(shared_world: World) -> None:
    """Request and trace ids are read from both forms of headers; a bad traceparent is none."""
    headers = [("x-request-id", "abc"), ("traceparent", "nonsense")]
    for raw in (False, True):
        message = check_request(shared_world.svid, headers, raw_headers=raw)
        check = read_check(RequestInputs(frozenset()), message)
        assert (check.request_id, check.trace_id) == ("abc", "")


def test_header_map_bytes_that_are_no_utf8() -> None:
    """Bytes that are no UTF-8 become a character that no token has."""
    message = pb.CheckRequest()
    message.attributes.request.http.header_map.headers.add(key="Authorization", raw_value=b"\xff")
    request = read_check(RequestInputs(frozenset({"authorization"})), message).request

    assert request.header("authorization") == "\ufffd"


def test_audit_log_follows_rotation(tmp_path: Path) -> None:
    """A file that was moved away is opened anew, and nothing is lost."""
    path = tmp_path / "audit.jsonl"
    log = AuditLog(AuditSettings(path=str(path)))
    log.start()
    log.append("one\n")
    wait_until(lambda: not log.status().queued)
    path.rename(tmp_path / "audit.1")
    log.append("two\n")
    wait_until(lambda: not log.status().queued)
    log.close()

    assert (tmp_path / "audit.1").read_text() == "one\n"
    assert path.read_text() == "two\n"


def test_audit_log_survives_a_full_disk() -> None:
    """A write that fails is counted, its lines are kept, and the log goes on."""
    log = AuditLog(AuditSettings(path="/dev/full"))
    log.start()
    log.append("one\n")
    wait_until(lambda: log.status().errors)
    log.append("two\n")
    log.close()

    assert log.status().errors >= 2
    assert log.status().queued == 2


def test_completed_lines_are_json() -> None:
    """A completed line is one JSON object on one line, whatever the client's id holds."""
    record = AuditRecord(*[""] * 6, [], "", [], [], *[""] * 4)  # type: ignore[call-arg, arg-type]
    line = AuditLine(
        encode_record(record),
        encode_operation(AuditOperation("", "", "", "")),
        1.5,
        '"}\n{' + "x" * 500,
        "",
        "a" * 32,
        True,
        7e-6,
    ).encode()
    parsed = json.loads(line)

    assert line.count(b"\n") == 1
    assert parsed["time"] == "1970-01-01T00:00:01.500000Z"
    assert len(parsed["request_id"]) == 128


@pytest.mark.parametrize(
    ("changes", "hints"), [({"aud": "x"}, 1), ({"act": None}, 1), ({"act": {"sub": PAYMENTS}}, 0)]
)
def test_the_record_of_a_refused_token_names_the_command(
    shared_world: World, changes: dict[str, Any], hints: int
) -> None:
    """A stuck operator finds the command in the log; the client learns nothing of it."""
    answer = shared_world.ask(shared_world.token(**changes))
    assert reason_of(answer) != "allow"
    detail = shared_world.audit_records()[-1]["detail"]

    assert detail.count("; authz token check tells more") == hints
    assert b"token check" not in answer.SerializeToString()
