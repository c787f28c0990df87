"""The table of revocations: each kind against a slow model, while entries come and go."""

from datetime import UTC, datetime, timedelta
from math import inf
from typing import Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.decision import Agent, Delegation
from authz.core.reason import Denied, Reason
from authz.core.request import Call, CallKind, Operation
from authz.core.revocation_table import Revocations
from authz.core.revocations import Revocation, RevocationError, read_entry
from authz.core.spiffe import SpiffeId
from support.costs import steps_of
from support.revocation_model import revoked_by

AGENT, OTHER = "spiffe://corp.example/a", "spiffe://corp.example/b"
START: Final = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = st.sampled_from(["x", "y"])
TIMES = st.none() | st.integers(0, 3).map(lambda hours: START + timedelta(hours=hours))
EXPIRES = TIMES
NOTES = st.sampled_from([None, "n"])
ENTRIES = st.one_of(
    st.builds(
        Revocation, agent=st.sampled_from([AGENT, OTHER]), note=NOTES, expires=EXPIRES, by=NOTES
    ),
    st.builds(Revocation, tool=NAMES, note=NOTES, expires=EXPIRES),
    st.builds(Revocation, everything=st.just(value=True), note=NOTES, expires=EXPIRES),
    st.builds(Revocation, issuer=NAMES, token_id=NAMES, expires=EXPIRES),
    st.builds(Revocation, issuer=NAMES, subject=NAMES, before=TIMES, expires=EXPIRES),
    st.builds(Revocation, issuer=NAMES, session=NAMES, before=TIMES, expires=EXPIRES),
    st.builds(
        Revocation,
        issuer=NAMES,
        email=st.sampled_from(["a@b.c", "A@B.C", "d"]),
        before=TIMES,
        note=NOTES,
        expires=EXPIRES,
    ),
    st.builds(Revocation, issuer=NAMES, before=TIMES, note=NOTES, expires=EXPIRES),
)
CLAIMS = st.fixed_dictionaries(
    {},
    optional={
        "sid": st.sampled_from(["x", "y", 1, None]),
        "email": st.sampled_from(["a@B.c", "D", ["d"], {}]),
        "_claim_names": st.sampled_from([{"email": "src"}, {"sid": "src"}]),
    },
)


def token_of(
    issuer: str = "x",
    subject: str = "x",
    token_id: str = "",
    hours: float = 1,
    claims: dict[str, object] | None = None,
) -> Delegation:
    """A delegation by a token that was issued so many hours after the start."""
    issued = START.timestamp() + hours * 3600
    return Delegation(
        issuer, subject, (), frozenset(), issued, inf, token_id=token_id, claims=claims or {}
    )


DELEGATIONS = st.builds(
    token_of,
    issuer=NAMES,
    subject=NAMES,
    token_id=st.sampled_from(["", "x", "y"]),
    hours=st.sampled_from([-0.5, 0, 0.5, 1.5, 2.5, 3, 9]),
    claims=CLAIMS,
)
CALLS = st.one_of(
    st.none(),
    st.builds(
        Call,
        st.just("m"),
        st.sampled_from([CallKind.TOOL, CallKind.TOOL, CallKind.PROMPT]),
        st.sampled_from(["x", "y", "z", ""]),
    ),
)


def operations_of(*calls: Call | None) -> tuple[Operation, ...]:
    """An operation for each call."""
    return tuple(Operation("POST", "h", ("p",), call=call) for call in calls)


def reason_of(
    table: Revocations, agent: str, token: Delegation, calls: list[Call | None]
) -> Reason | None:
    """The table's refusal, None if it lets pass."""
    try:
        table.check(Agent(SpiffeId.parse(agent)), token, operations_of(*calls))
    except Denied as denied:
        return denied.reason
    return None


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), ENTRIES),
        st.tuples(st.just("remove"), st.integers(0, 30)),
        st.tuples(st.just("expire"), st.integers(0, 3)),
    ),
    max_size=14,
)
ORDER: Final = (Reason.STOPPED, Reason.AGENT_SUSPENDED, Reason.TOKEN_REVOKED)


@given(STEPS, st.sampled_from([AGENT, OTHER]), DELEGATIONS, st.lists(CALLS, min_size=1, max_size=3))
def test_like_a_list(
    steps: list[tuple[str, Revocation | int]],
    agent: str,
    token: Delegation,
    calls: list[Call | None],
) -> None:
    """Adding, removing and expiring in any order leaves what a list of entries would refuse."""
    table, model = Revocations(), list[Revocation]()
    for step, value in steps:
        if isinstance(value, Revocation):
            table.add(value.line, value)
            model.append(value)
        elif step == "remove" and model:
            entry = model.pop(value % len(model))
            table.remove(entry.line)
        elif step == "expire":
            now = (START + timedelta(hours=value)).timestamp()
            gone = {entry.line for entry in model if entry.is_over(now)}
            assert {*table.expire(now)} == gone
            model = [entry for entry in model if entry.line not in gone]
        found = {revoked_by(entry, agent, token, calls) for entry in model} - {None}
        given = reason_of(table, agent, token, calls)
        assert (given is None) == (not found)
        assert given is None or given in found
        assert len(table) == len({*model})
    table.remove(b"never added")


@given(ENTRIES)
def test_a_line_is_its_entry(entry: Revocation) -> None:
    """An entry's line is read as the same entry, with the same id."""
    assert read_entry(entry.line) == entry
    assert read_entry(entry.line).id == entry.id


def test_ids_of_before() -> None:
    """The id of an entry that an earlier version wrote is the same as then."""
    assert read_entry(b'{"agent":"spiffe://corp.example/a","note":"n"}').id == "07fca4f141de"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b'{"tool":"t","agent":"spiffe://c/a"}', "agent must be given alone"),
        (b'{"tool":"t","issuer":"i"}', "tool must be given alone"),
        (b'{"tool":"t","everything":true}', "tool must be given alone"),
        (b'{"tool":""}', "tool must not be empty"),
        (b'{"everything":false}', "everything must be true"),
        (b'{"everything":true,"before":"2026-01-01T00:00:00Z"}', "everything must be given alone"),
        (b'{"everything":true,"everything":true}', "occurs twice"),
        (b'{"everything":1}', "Expected"),
        (b'{"session":"s"}', "agent or issuer is required"),
        (b'{"issuer":"i","session":"s","subject":"u"}', "give one of"),
        (b'{"issuer":"i","session":"s","token_id":"u"}', "token_id must be given with issuer"),
        (b'{"issuer":"i","email":""}', "must not be empty"),
        (b'{"agent":"spiffe://c/a","expires":"2026-01-01T00:00:00"}', "timezone"),
    ],
)
def test_a_bad_entry(line: bytes, why: str) -> None:
    """Members that contradict each other, or match nobody, are refused."""
    with pytest.raises(RevocationError, match=why):
        read_entry(line)


def test_the_detail_names_the_entry() -> None:
    """A refusal's detail names the entry, who made it and why."""
    entry = Revocation(tool="x", by="mallory@corp", note="it leaks")
    with pytest.raises(Denied) as denied:
        Revocations((entry,)).check(
            Agent(SpiffeId.parse(AGENT)), token_of(), operations_of(Call("m", CallKind.TOOL, "x"))
        )
    assert denied.value.detail == (
        f"the tool x was stopped (entry {entry.id} by mallory@corp: it leaks)"
    )
    assert Revocations((entry,)).lines


def test_a_long_note_is_cut_in_the_detail() -> None:
    """A note of any length adds little to the record of each refusal."""
    entry = Revocation(everything=True, by="b" * 999, note="n" * 10_000)
    with pytest.raises(Denied) as denied:
        Revocations((entry,)).check(Agent(SpiffeId.parse(AGENT)), token_of(), ())
    assert len(denied.value.detail) < 600


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("Jürgen@corp.example", "ju\u0308rgen@corp.example"),  # composed, decomposed
        ("ju\u0308rgen@corp.example", "JÜRGEN@CORP.EXAMPLE"),
        ("straße@corp.example", "STRASSE@corp.example"),
        ("alice@bücher.example", "alice@xn--bcher-kva.example"),
        ("alice@XN--BCHER-KVA.example", "alice@BÜCHER.example"),
        ("alice@corp.example", " alice@corp.example. "),
        ("alice@corp.example", "\uff41\uff4c\uff49\uff43\uff45@corp.example"),  # of full width
    ],
)
def test_one_mailbox_in_two_forms(written: str, shown: str) -> None:
    """An entry for an address stops it however the token writes it."""
    table = Revocations([Revocation(issuer="x", email=written)])

    assert reason_of(table, AGENT, token_of(claims={"email": shown}), []) is Reason.TOKEN_REVOKED
    other = token_of(claims={"email": "bob@corp.example"})
    assert reason_of(table, AGENT, other, []) is None


@pytest.mark.parametrize("email", ["xn--" + "é" * 40, "a@xn--" + "9" * 60 + ".b", "@", "a" * 2000])
def test_odd_addresses(email: str) -> None:
    """An address that no server has is compared as it is; one that is too long may be any."""
    table = Revocations([Revocation(issuer="x", email=email)])

    assert reason_of(table, AGENT, token_of(claims={"email": email}), []) is Reason.TOKEN_REVOKED


@pytest.mark.parametrize("claim", ["sid", "email"])
@pytest.mark.parametrize("value", [7, ["bob"], {"id": "bob"}, True])
def test_a_claim_that_cannot_be_read_may_be_any(claim: str, value: object) -> None:
    """A token that hides its session or address is refused with those of its issuer and time."""
    given = {"session" if claim == "sid" else "email": "alice"}
    entry = msgspec.convert({"issuer": "x", "before": START, **given}, Revocation)
    table, claims = Revocations([entry]), {claim: value}

    hidden = token_of(hours=-1, claims=claims)
    assert reason_of(table, AGENT, hidden, []) is Reason.TOKEN_REVOKED
    assert reason_of(table, AGENT, token_of(hours=1, claims=claims), []) is None
    assert reason_of(table, AGENT, token_of(issuer="y", hours=-1, claims=claims), []) is None


def test_a_claim_that_is_elsewhere_may_be_any() -> None:
    """So may one that the token only points to (OpenID Connect Core 1.0 section 5.6.2)."""
    table = Revocations([Revocation(issuer="x", email="alice@corp.example")])
    elsewhere = token_of(claims={"_claim_names": {"email": "src1"}, "_claim_sources": {"src1": {}}})

    assert reason_of(table, AGENT, elsewhere, []) is Reason.TOKEN_REVOKED
    assert reason_of(table, AGENT, token_of(claims={"email": None}), []) is None


def test_many_entries_for_the_same_principal() -> None:
    """A look-up costs the same, however many entries there are for a principal."""
    entries = [
        Revocation(issuer="x", subject="x", before=START + timedelta(seconds=at))
        for at in range(2000)
    ]
    table = Revocations(entries)
    few = Revocations(entries[:2])
    token = token_of(hours=9)

    assert reason_of(table, AGENT, token, []) is None
    of_many = steps_of(lambda: reason_of(table, AGENT, token, []))
    assert of_many == steps_of(lambda: reason_of(few, AGENT, token, []))
