"""The table of events, by their URIs, and what each means for tokens.

An event that is not in it has no effect: it is counted as unmapped, and logged.
"""

from collections.abc import Mapping
from enum import Enum, auto
from typing import Any, Final, NamedTuple

_CAEP: Final = "https://schemas.openid.net/secevent/caep/event-type/"
_RISC: Final = "https://schemas.openid.net/secevent/risc/event-type/"
_SSF: Final = "https://schemas.openid.net/secevent/ssf/event-type/"
OTHER: Final = "other"
LOGOUT: Final = "logout"
OF_SESSIONS: Final = frozenset({"session-revoked"})  # whose subject may be a session


class Meaning(Enum):
    """What an event means for the tokens of its subject."""

    ENDS_EARLIER = auto()  # those issued before it are revoked
    ENDS_ALL = auto()  # all are, until it is taken back
    RESTORES = auto()  # takes back an ENDS_ALL
    NOTHING = auto()


class EventKind(NamedTuple):
    """A row of the table.

    Attributes:
        name: the end of its URI, which metrics and logs use.
        meaning: what it means.
        harmless: a member, and those of its values with which the event means nothing.
    """

    name: str
    meaning: Meaning
    harmless: tuple[str, frozenset[str]] = ("", frozenset())


def _rows(prefix: str, meaning: Meaning, *names: str) -> dict[str, EventKind]:
    return {prefix + name: EventKind(name, meaning) for name in names}


def _unless(name: str, member: str, *values: str) -> dict[str, EventKind]:
    return {_CAEP + name: EventKind(name, Meaning.ENDS_EARLIER, (member, frozenset(values)))}


EVENTS: Final[Mapping[str, EventKind]] = {
    # CAEP 1.0 section 3
    **_rows(
        *(_CAEP, Meaning.ENDS_EARLIER),
        *("session-revoked", "token-claims-change", "credential-change"),
    ),
    **_unless("assurance-level-change", "change_direction", "increase"),
    **_unless("device-compliance-change", "current_status", "compliant"),
    **_unless("risk-level-change", "current_level", "LOW", "MEDIUM"),
    **_rows(_CAEP, Meaning.NOTHING, "session-established", "session-presented"),
    # RISC 1.0 section 2
    **_rows(_RISC, Meaning.ENDS_ALL, "account-disabled", "account-purged"),
    **_rows(_RISC, Meaning.RESTORES, "account-enabled"),
    **_rows(
        *(_RISC, Meaning.ENDS_EARLIER),
        *("account-credential-change-required", "credential-compromise", "sessions-revoked"),
        *("identifier-changed", "identifier-recycled"),
    ),
    **_rows(
        *(_RISC, Meaning.NOTHING),
        *("opt-in", "opt-out-initiated", "opt-out-cancelled", "opt-out-effective"),
        *("recovery-activated", "recovery-information-changed"),
    ),
    # Shared Signals Framework 1.0 sections 8.1.4 and 8.1.5: about the stream
    **_rows(_SSF, Meaning.NOTHING, "verification", "stream-updated"),
}
EVENT_NAMES: Final = frozenset({kind.name for kind in EVENTS.values()} | {OTHER, LOGOUT})


def name_of(uri: str) -> str:
    """Return the name of an event for metrics and logs; "other" for an unknown one."""
    kind = EVENTS.get(uri)
    return OTHER if kind is None else kind.name


def meaning_of(uri: str, members: Mapping[str, Any]) -> Meaning | None:
    """Return what an event means, by what is said of it; None for an unknown one.

    A level that is missing or unknown counts as the worst.
    """
    kind = EVENTS.get(uri)
    if kind is None:
        return None
    member, values = kind.harmless
    said = members.get(member)
    return Meaning.NOTHING if isinstance(said, str) and said in values else kind.meaning
