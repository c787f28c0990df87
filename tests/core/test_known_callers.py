"""Known callers: what steps 1 and 2 established is used only while nothing can have changed."""

from math import inf

import msgspec
import pytest

from authz.core.bounded_map import Unchanging
from authz.core.decision import Agent, Delegation
from authz.core.known_callers import Caller, KnownCallers
from authz.core.request import DPOP, Call, CallKind, MessageProtocol, Request
from authz.core.routes import Route
from authz.core.spiffe import SpiffeId

AGENT = "spiffe://corp.example/a"
NOW = 1000.0
ROUTE = Route()
REQUEST = Request(
    "GET",
    "h",
    "/a",
    headers=(("authorization", "Bearer t"),),
    principal=AGENT,
    certificate="pem",
    context=(("authz_route", "r"),),
    metadata=(("n", b"m"),),
    elsewhere=("query",),
    proxy="spiffe://corp.example/p",
)


class Keys:
    """Keys that change when a test says so."""

    generation = 0


def caller(*, certificate_until: float = inf, token_until: float = NOW + 60) -> Caller:
    """Return a caller whose certificate and token end then."""
    agent = Agent(SpiffeId.parse(AGENT), expires_at=certificate_until)
    token = Delegation("iss", "alice", (), frozenset(), NOW, token_until)
    return Caller(agent, token, ("flag",))


def known(found: Caller, request: Request = REQUEST, *, entries: int = 10) -> KnownCallers:
    """Return a memory that had the caller established by a request, now."""
    memory = KnownCallers(Unchanging(), entries=entries, max_bytes=10**6)
    memory.put(memory.key(request, ROUTE), request, found, NOW)
    return memory


def test_another_target_has_the_same_caller() -> None:
    """A known caller is found whatever method, host, path and plain call it asks for."""
    found = caller()
    other = msgspec.structs.replace(
        REQUEST, method="POST", host="other", path="/b", protocol=MessageProtocol.MCP
    )
    memory = known(found)
    assert memory.get(memory.key(other, ROUTE), NOW) is found


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("headers", (("authorization", "Bearer u"),)),
        ("principal", "spiffe://corp.example/b"),
        ("certificate", "another"),
        ("context", ()),
        ("metadata", ()),
        ("elsewhere", ()),
        ("proxy", ""),
    ],
)
def test_other_evidence_is_another_caller(field: str, value: object) -> None:
    """A request that differs in anything that the steps read goes through the steps."""
    memory = known(caller())
    other = msgspec.structs.replace(REQUEST, **{field: value})
    assert memory.get(memory.key(other, ROUTE), NOW) is None


def test_another_route_is_another_look() -> None:
    """Routes differ in audiences and in calls without a token, so each has its own callers."""
    call = Call("initialize", CallKind.SERVER, "", is_known=True)
    with_call = msgspec.structs.replace(REQUEST, calls=(call,))
    memory = known(caller())
    assert memory.get(memory.key(REQUEST, Route(name="r")), NOW) is None
    bootstrap = Route(bootstrap=frozenset({"initialize"}))
    assert memory.get(memory.key(with_call, bootstrap), NOW) is None


@pytest.mark.parametrize(
    "found",
    [caller(token_until=NOW + 5), caller(certificate_until=NOW + 5)],
    ids=["token", "certificate"],
)
def test_a_caller_ends_with_its_proofs(found: Caller) -> None:
    """A caller is known until its token or its certificate ends, and not before it was known."""
    memory = known(found)
    key = memory.key(REQUEST, ROUTE)
    assert memory.get(key, NOW) is memory.get(key, NOW + 4.9) is found
    assert memory.get(key, NOW + 5) is None
    assert memory.get(key, NOW - 0.1) is None


def test_a_change_of_keys_during_the_steps_shows() -> None:
    """A caller is unknown after any change of keys, also one between its key and its result."""
    keys = Keys()
    memory = KnownCallers(keys, entries=10, max_bytes=10**6)
    key = memory.key(REQUEST, ROUTE)
    keys.generation += 1
    memory.put(key, REQUEST, caller(), NOW)
    assert memory.get(memory.key(REQUEST, ROUTE), NOW) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"principal": "spiffe://corp.example/proxy"},
        {"principal": ""},
        {"headers": (("authorization", "DPoP t"), (DPOP, "proof"))},
    ],
    ids=["a proxy's certificate", "nobody's certificate", "a proof"],
)
def test_what_may_end_unseen_is_not_kept(changed: dict[str, object]) -> None:
    """A caller behind a proxy's own certificate, or with a proof, is established each time."""
    request = msgspec.structs.replace(REQUEST, **changed)
    memory = known(caller(), request)
    assert memory.get(memory.key(request, ROUTE), NOW) is None


def test_no_entries_keep_nobody() -> None:
    """With room for none, as where a config remembers no tokens, nobody is known."""
    memory = known(caller(), entries=0)
    assert memory.get(memory.key(REQUEST, ROUTE), NOW) is None
