"""Consents: what a line means, which lines are none, and which consent covers what is asked."""

import json
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.consents import MAX_OF_PAIR, READER, ConsentError, ConsentQuery, Consents
from support.consent_model import is_covered

AGENT: Final = "spiffe://corp.example/ns/agents/sa/travel"
END: Final = "2030-01-01T00:00:00Z"
NOW: Final = 1_800_000_000.0  # in 2027
CALL: Final = {"type": "https://corp.example/authz/call", "arguments": {"amount": 620}}
SINCE: Final = "2026-06-01T00:00:00Z"
TO_CALL: Final = {
    "audiences": ["a"],
    "authorization_details": [CALL],
    "since": SINCE,
    "until": "2027-06-01T00:00:00Z",
}


def line(**members: Any) -> bytes:
    """A line; a member that is None is left out."""
    whole = {"issuer": "i", "subject": "alice", "agent": AGENT, "until": END, **members}
    return json.dumps({name: each for name, each in whole.items() if each is not None}).encode()


def query(**members: Any) -> ConsentQuery:
    """What is asked."""
    whole = {"issuer": "i", "subject": "alice", "agent": AGENT}
    return ConsentQuery(**{**whole, "audiences": ("a",), "scopes": ("read",), **members})


def holding(*lines: bytes) -> Consents:
    """Consents that have these lines."""
    consents = Consents()
    for each in lines:
        consents.put(each, READER.read(each), NOW)
    return consents


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (b"{", "not JSON"),
        (b"[]", "Expected `object`"),
        (line(until=None), "until"),
        (line(until="2030-01-01T00:00:00"), "timezone"),
        (line(issuer=""), "must not be empty"),
        (line(subject=""), "must not be empty"),
        (line(agent="spiffe://corp.example/*"), "names one agent"),
        (line(audiences=[]), "audiences must name at least one"),
        (line(audiences=[""]), "audiences must name at least one"),
        (line(scopes=[]), "scopes must name at least one"),
        (line(scopes=["read write"]), "scopes: each is a word"),
        (line(scopes="read"), "Expected `array"),
        (line(authorization_details=[CALL]), "requires audiences"),
        (line(audiences=["a"], authorization_details=[]), "exactly one object"),
        (line(audiences=["a"], authorization_details=[CALL, CALL]), "exactly one object"),
        (line(audiences=["a"], authorization_details=[{"amount": 1}]), "must have a type"),
        (line(audiences=["a"], authorization_details=[{"type": 1}]), "must have a type"),
        (line(audiences=["a"], authorization_details=[{"type": "t", "n": 1e300}]), "too large"),
        (line(**{**TO_CALL, "since": None}), "requires since"),
        (line(**{**TO_CALL, "until": "2027-06-03T00:00:00Z"}), "more than 366 days after"),
        (line(**{**TO_CALL, "until": SINCE}), "more than 366 days after"),
        (line(**{**TO_CALL, "authorization_details": [{**CALL, "jti": "a"}]}), "are the consent's"),
        (line(**{**TO_CALL, "authorization_details": [{**CALL, "exp": 9}]}), "are the consent's"),
        (line(once=False), "once must be true"),
        (line(once=True), "once requires since"),
        (line(forever=True), "unknown field"),
        (line()[:-1] + b', "agent": "spiffe://corp.example/other"}', "occurs twice"),
        (line() + line(), "not JSON"),
    ],
)
def test_what_is_no_consent(bad: bytes, why: str) -> None:
    """A line that could be read in two ways, or is certainly not meant, is no consent."""
    with pytest.raises(ConsentError, match=why):
        READER.read(bad)


@pytest.mark.parametrize(
    ("consent", "asked", "is_found"),
    [
        ({}, {}, True),
        ({}, {"issuer": "j"}, False),
        ({}, {"subject": "bob"}, False),
        ({}, {"agent": f"{AGENT}2"}, False),
        ({}, {"audiences": ()}, False),
        ({"audiences": ["a", "b"]}, {"audiences": ("b", "a")}, True),
        ({"audiences": ["a"]}, {"audiences": ("a", "b")}, False),
        ({"scopes": ["read"]}, {"scopes": ("read", "write")}, False),
        ({"scopes": ["read"]}, {"scopes": ()}, True),
        ({"until": "2026-01-01T00:00:00Z"}, {}, False),
        ({}, {"detail": CALL}, False),
        (TO_CALL, {"scopes": ()}, False),
        (
            TO_CALL,
            {"scopes": (), "detail": {"arguments": {"amount": 620.0}, "type": CALL["type"]}},
            True,
        ),
        (TO_CALL, {"detail": CALL}, False),
        (
            {**TO_CALL, "scopes": ["read"]},
            {"detail": CALL},
            True,
        ),
        (
            TO_CALL,
            {"scopes": (), "detail": {**CALL, "arguments": {"amount": 621}}},
            False,
        ),
        (
            TO_CALL,
            {"scopes": (), "detail": {**CALL, "more": 1}},
            False,
        ),
    ],
)
def test_what_a_consent_covers(
    consent: dict[str, Any], asked: dict[str, Any], *, is_found: bool
) -> None:
    """A consent covers its principal's, agent's, audiences' and scopes' requests, and no others."""
    found = holding(line(**consent)).find(query(**asked), NOW)
    assert (found is not None) is is_found


def test_which_consent_is_taken() -> None:
    """One that can be used again is taken before one for a single use, then the longest."""
    once = line(once=True, since="2026-01-01T00:00:00Z", until="2031-01-01T00:00:00Z")
    short, long = line(until="2028-01-01T00:00:00Z"), line(until="2029-01-01T00:00:00Z")
    consents = holding(once, short, long)
    for name, expected in ((long, long), (short, short), (once, once)):
        found = consents.find(query(), NOW)
        assert found == READER.read(expected)
        consents.drop(name)
    assert consents.find(query(), NOW) is None
    assert len(consents) == 0
    assert consents.once(READER.read(once).digest) is None


def test_a_pair_has_a_bound() -> None:
    """A look-up reads a bounded number of consents; those that ended make room."""
    consents = Consents()
    for number in range(MAX_OF_PAIR):
        end = "2027-06-01T00:00:00Z" if number == 7 else END
        each = READER.read(line(until=end, note=str(number)))
        consents.put(number, each, NOW)
    with pytest.raises(ConsentError, match="more than 1000"):
        consents.put("more", READER.read(line()), NOW)
    consents.put("more", READER.read(line()), READER.read(line()).until_seconds - 1)
    assert 7 not in consents
    assert "more" in consents


TEXTS: Final = st.sampled_from(["a", "b", "c"])
VALUES: Final = st.recursive(
    st.sampled_from([None, True, False, 0, 1, 1.0, 0.5, "1", ""]),
    lambda each: st.lists(each, max_size=2) | st.dictionaries(TEXTS, each, max_size=2),
    max_leaves=4,
)
DETAILS: Final = st.none() | st.builds(
    lambda more, kind: {**more, "type": kind}, st.dictionaries(TEXTS, VALUES, max_size=2), TEXTS
)
LISTED: Final = st.none() | st.lists(TEXTS, min_size=1, max_size=2)


QUERIES: Final = st.fixed_dictionaries(
    {
        "issuer": st.just("i"),
        "subject": TEXTS,
        "agent": st.just(AGENT),
        "audiences": st.lists(TEXTS, min_size=1, max_size=2).map(tuple),
        "scopes": st.lists(TEXTS, max_size=2).map(tuple),
        "detail": DETAILS,
    }
)
ENDS: Final = st.sampled_from([TO_CALL["until"], "2027-01-15T08:00:00Z"])


@given(
    rows=st.lists(st.tuples(TEXTS, LISTED, LISTED, DETAILS, ENDS), max_size=4),
    asked=QUERIES,
    now=st.sampled_from([NOW - 1, NOW, NOW + 1]),
)
def test_like_the_model(rows: list[Any], asked: dict[str, Any], now: float) -> None:
    """Whatever consents there are, what they cover is what a slow reading of their JSON says."""
    lines = [
        line(
            subject=whose,
            audiences=(places or ["a"]) if details else places,
            scopes=words,
            authorization_details=details and [details],
            until=until,
            since=SINCE,
        )
        for whose, places, words, details, until in rows
    ]
    found = holding(*lines).find(ConsentQuery(**asked), now)
    assert (found is not None) == is_covered(lines, asked, now)
