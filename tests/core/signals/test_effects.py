"""What follows from events and logouts: whom they mean, since when, and for how long."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.revocations import Revocation
from authz.core.signals.effects import SignalEffect, effect_of, effect_of_logout
from authz.core.signals.errors import SignalError
from authz.core.signals.events import EVENT_NAMES, EVENTS, Meaning, meaning_of, name_of
from authz.core.signals.logout_token import Logout
from authz.core.signals.security_event import SecurityEvent, read_events
from authz.core.signals.sender import SignalSender
from authz.core.signals.subjects import MAX_ALIASES, read_targets

NOW = 1_800_000_000
DAY = 86400.0
TRANSMITTER = "https://signals.example"
ISSUER = "https://as.example"
CAEP = "https://schemas.openid.net/secevent/caep/event-type/"
RISC = "https://schemas.openid.net/secevent/risc/event-type/"
SESSION_REVOKED = f"{CAEP}session-revoked"
ALICE = {"format": "iss_sub", "iss": ISSUER, "sub": "alice"}
SESSION = {"format": "opaque", "id": "s-1"}


def sender(*, by_session: bool = False) -> SignalSender:
    """A transmitter that speaks of another issuer."""
    return SignalSender(
        issuer=TRANSMITTER,
        about=ISSUER,
        audiences=("us",),
        algorithms=frozenset({"ES256"}),
        max_age=7 * DAY,
        clock_skew=30.0,
        token_seconds=3600.0,
        by_session=by_session,
    )


def effect(uri: str, subject: object, members: dict[str, Any] | None = None) -> SignalEffect:
    """What follows from an event now."""
    return effect_of(SecurityEvent(uri, members or {}, subject, "j", NOW, NOW), sender())


def whom(subject: object, *, by_session: bool = False, is_of_session: bool = False) -> list[Any]:
    """Whom a subject means, as pairs."""
    found = read_targets(subject, sender(by_session=by_session), is_of_session=is_of_session)
    return [pair for target in found for pair in msgspec.structs.asdict(target).items() if pair[1]]


SUBJECTS: dict[str, tuple[object, list[tuple[str, str]]]] = {
    "iss_sub": (ALICE, [("subject", "alice")]),
    "iss_sub of the transmitter": ({**ALICE, "iss": TRANSMITTER}, [("subject", "alice")]),
    "iss_sub of another": ({**ALICE, "iss": "https://other.example"}, []),
    "iss_sub without iss": ({"format": "iss_sub", "sub": "alice"}, []),
    "iss_sub with iss in a list": ({**ALICE, "iss": [ISSUER]}, []),
    "opaque": ({"format": "opaque", "id": "u"}, [("subject", "u")]),
    "email": ({"format": "email", "email": "a@b.example"}, [("email", "a@b.example")]),
    "jwt_id": ({"format": "jwt_id", "iss": ISSUER, "jti": "t"}, [("token_id", "t")]),
    "jwt_id of another": ({"format": "jwt_id", "iss": "x", "jti": "t"}, []),
    "account": ({"format": "account", "uri": "acct:a@b.example"}, []),
    "aliases": (
        {"format": "aliases", "identifiers": [ALICE, {"format": "email", "email": "a@b"}]},
        [("subject", "alice"), ("email", "a@b")],
    ),
    "aliases of aliases": (
        {"format": "aliases", "identifiers": [{"format": "aliases", "identifiers": [ALICE]}]},
        [],
    ),
    "complex": ({"format": "complex", "user": ALICE}, [("subject", "alice")]),
    "a device of a user": (
        {"format": "complex", "user": ALICE, "device": SESSION, "tenant": SESSION},
        [("subject", "alice")],
    ),
    "a session of a user": (
        {"format": "complex", "user": ALICE, "session": SESSION},
        [("subject", "alice"), ("session", "s-1")],
    ),
    "a session": ({"format": "complex", "session": SESSION}, [("session", "s-1")]),
    "an empty text": ({"format": "opaque", "id": ""}, []),
    "a long text": ({"format": "opaque", "id": "x" * 2000}, []),
    "a number": ({"format": "opaque", "id": 7}, []),
    "no format": ({"iss": ISSUER, "sub": "alice"}, []),
    "no object": ("alice", []),
}


@pytest.mark.parametrize("what", SUBJECTS)
def test_subjects(what: str) -> None:
    """Each format of RFC 9493 means those tokens that name the same, of this issuer alone."""
    subject, expected = SUBJECTS[what]

    assert whom(subject) == expected


def test_a_session_alone() -> None:
    """Where tokens name their session, an event about a session is about its tokens alone."""
    subject = {"format": "complex", "user": ALICE, "session": SESSION}

    assert whom(subject, by_session=True, is_of_session=True) == [("session", "s-1")]
    # A changed credential, or a disabled account, is the user's.
    assert whom(subject, by_session=True) == [("subject", "alice"), ("session", "s-1")]
    unmapped = {**subject, "session": {"format": "email", "email": "x"}}
    assert whom(unmapped, by_session=True) == [("subject", "alice")]
    assert whom(SESSION, is_of_session=True) == [("subject", "s-1"), ("session", "s-1")]


def test_aliases_are_bounded() -> None:
    """A list of more aliases is refused: to leave some out could leave out the one that counts."""
    many = [{"format": "opaque", "id": str(number)} for number in range(MAX_ALIASES + 1)]

    assert len(whom({"format": "aliases", "identifiers": many[1:]})) == MAX_ALIASES
    with pytest.raises(SignalError, match="aliases"):
        whom({"format": "aliases", "identifiers": many})


def test_a_session_that_tokens_do_not_name() -> None:
    """An event about nothing else is told as unmapped: its entry may match no token."""
    event = SecurityEvent(SESSION_REVOKED, {}, {"format": "complex", "session": SESSION}, "j", 0, 0)

    assert [entry.session for entry in effect_of(event, sender()).entries] == ["s-1"]
    assert not effect_of(event, sender()).is_mapped
    assert effect_of(event, sender(by_session=True)).is_mapped


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["format", "iss", "sub", "id", "email", "user", "session", "jti"]),
            inner | st.sampled_from(["iss_sub", "opaque", "complex", "aliases", ISSUER]),
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(json_values, st.sampled_from(sorted(EVENTS)), st.booleans())
def test_any_subject(subject: object, uri: str, by_session: bool) -> None:  # noqa: FBT001 - a parameter
    """Whatever a subject is, each entry is valid, and of the issuer that may be spoken of."""
    event = SecurityEvent(uri, {}, subject, "j", NOW + 0.5, NOW)
    found = effect_of(event, sender(by_session=by_session))

    for entry in found.entries:
        entry.check()
        assert entry.issuer == ISSUER
        assert msgspec.json.decode(entry.line, type=Revocation) == entry
    is_nothing = meaning_of(uri, {}) is Meaning.NOTHING
    counts = by_session or any(entry.session is None for entry in found.entries)
    found_any = (found.entries and counts) or found.restorations
    assert found.is_mapped == bool(is_nothing or found_any)


def test_until_when() -> None:
    """An entry reaches to the end of the event's second, and lasts as long as older tokens do."""
    (entry,) = effect(SESSION_REVOKED, ALICE).entries

    assert entry.before is not None
    assert entry.expires is not None
    assert entry.before.timestamp() == NOW + 1
    assert entry.expires.timestamp() == NOW + 1 + 3600
    assert (entry.by, entry.note) == (f"signal {TRANSMITTER} j", "session-revoked")


def test_a_disabled_account() -> None:
    """A disabled or purged account's tokens are revoked at any time, and without an end."""
    for name in ("account-disabled", "account-purged"):
        (entry,) = effect(RISC + name, ALICE).entries
        assert (entry.subject, entry.before, entry.expires) == ("alice", None, None)


LEVELS = [
    ("assurance-level-change", {"change_direction": "increase"}, False),
    ("assurance-level-change", {"change_direction": "decrease"}, True),
    ("assurance-level-change", {}, True),
    ("device-compliance-change", {"current_status": "compliant"}, False),
    ("device-compliance-change", {"current_status": "not-compliant"}, True),
    ("risk-level-change", {"current_level": "LOW"}, False),
    ("risk-level-change", {"current_level": "MEDIUM"}, False),
    ("risk-level-change", {"current_level": "HIGH"}, True),
    ("risk-level-change", {"current_level": "low"}, True),
    ("risk-level-change", {"current_level": ["LOW"]}, True),
    ("session-established", {}, False),
    ("session-presented", {}, False),
    ("token-claims-change", {}, True),
    ("credential-change", {"change_type": "create"}, True),
]


@pytest.mark.parametrize(("name", "members", "revokes"), LEVELS)
def test_levels(name: str, members: dict[str, Any], revokes: bool) -> None:  # noqa: FBT001 - a parameter
    """A level that got better means nothing; any other, and an unknown one, revokes."""
    assert bool(effect(CAEP + name, ALICE, members).entries) is revokes


def test_an_unknown_event() -> None:
    """An unknown event has no effect, and a name of its own in no metric."""
    found = effect("https://vendor.example/x", ALICE)

    assert (found.event, found.entries, found.is_mapped) == ("other", (), False)
    assert name_of("https://vendor.example/x") in EVENT_NAMES


TIMES = [
    (NOW - 60, NOW - 60),
    (NOW + 20, NOW + 20),
    (NOW * 1000, NOW),  # milliseconds
    (0, NOW),
    (-1, NOW),
    (NOW - 8 * DAY, NOW),
    (True, NOW),
    (str(NOW - 60), NOW),
    (None, NOW),
]


@pytest.mark.parametrize(("said", "counts"), TIMES)
def test_when_it_happened(said: object, counts: float) -> None:
    """A time that can't be meant would revoke nothing, or what is not made yet: iat counts."""
    claims = {"iat": NOW, "jti": "j", "sub_id": ALICE, "events": {SESSION_REVOKED: {}}}
    claims["events"] = {SESSION_REVOKED: {"event_timestamp": said}}
    (event,) = read_events(claims, sender())

    assert event.at == counts


def test_a_subject_within_the_event() -> None:
    """Transmitters of earlier drafts write the subject into the event; sub_id comes first."""
    claims = {"iat": NOW, "jti": "j", "events": {SESSION_REVOKED: {"subject": SESSION}}}
    (event,) = read_events(claims, sender())
    (other,) = read_events({**claims, "sub_id": ALICE}, sender())

    assert (event.subject, other.subject) == (SESSION, ALICE)


@pytest.mark.parametrize(
    ("subject", "session", "by_session", "expected"),
    [
        ("alice", None, False, [("alice", None)]),
        (None, "s", False, [(None, "s")]),
        ("alice", "s", False, [(None, "s"), ("alice", None)]),
        ("alice", "s", True, [(None, "s")]),
        ("alice", None, True, [("alice", None)]),
    ],
)
def test_logouts(
    subject: str | None,
    session: str | None,
    by_session: bool,  # noqa: FBT001 - a parameter
    expected: list[tuple[str | None, str | None]],
) -> None:
    """A logout ends its session's tokens, and the subject's if tokens name no session."""
    found = effect_of_logout(Logout(subject, session, "j", NOW), sender(by_session=by_session))

    assert [(entry.subject, entry.session) for entry in found.entries] == expected
    assert all(entry.expires is not None for entry in found.entries)
    assert [entry.before is None for entry in found.entries if entry.session] == [True] * bool(
        session
    )
