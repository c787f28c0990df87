"""Says which key signs at a time, and which keys are published then. Pure: time is an argument.

1. The last key whose time has come signs. The first signs until the next does.
2. Every later key is published ahead, as verifiers know only what they fetched before.
3. A key that no longer signs stays published until the last that it signed has expired.
4. A key that replaces another in the same file signs AHEAD_SECONDS later: nobody knows it yet.

So a verifier that fetched the keys within MAX_AGE_SECONDS, from any replica, knows the key of every
token in force, if a later key is listed that long before it signs, and if a file is not changed
again within AHEAD_SECONDS. All of it follows from the config and the files: replicas agree without
asking each other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import Final

from authz.adapters.signing.private_key import SigningKey

# How long verifiers may keep the published keys: few requests, and a new key is soon known.
MAX_AGE_SECONDS: Final = 300
# How much later than one replica another may see that a file has changed: Kubernetes takes minutes.
DELAY_SECONDS: Final = 300.0
AHEAD_SECONDS: Final = MAX_AGE_SECONDS + DELAY_SECONDS
# Of a place, the keys that wait. A file that has another key all the time can't publish more.
MAX_WAITING: Final = 4
# The clocks of two replicas and of a verifier may each be half a minute off, and verifiers take a
# token for as long after its end as their leeway is.
CLOCK_SKEW_SECONDS: Final = 120.0


def kept_seconds(lifetime_seconds: float) -> float:
    """Return how long a key stays published after it has signed for the last time here."""
    return lifetime_seconds + CLOCK_SKEW_SECONDS + DELAY_SECONDS


class KeyUse(StrEnum):
    """What a published key is for."""

    CURRENT = "current"
    NEXT = "next"
    PREVIOUS = "previous"


@dataclass(frozen=True, slots=True)
class Stage:
    """A key, and from when it may sign.

    Attributes:
        place: of the key's file in the config's list. Once a key of a later place signs, none
            of an earlier place does again.
        begins: unix seconds; -inf for the first of all.
    """

    place: int
    begins: float
    key: SigningKey


@dataclass(frozen=True, slots=True)
class Timeline:
    """The keys in the order in which they sign; at least one."""

    stages: tuple[Stage, ...]

    def signing(self, now: float) -> SigningKey:
        """Return the key that signs."""
        begun = [stage for stage in self.stages if stage.begins <= now]
        return (begun[-1] if begun else self.stages[0]).key

    def published(self, now: float, kept_seconds: float) -> Mapping[SigningKey, KeyUse]:
        """Return the keys that verifiers have to know, the current one first.

        ``kept_seconds`` is how long a key stays after it has signed for the last time.
        """
        found: dict[SigningKey, KeyUse] = {self.signing(now): KeyUse.CURRENT}
        previous: list[SigningKey] = []
        for stage, ends in self._with_ends():
            # Another replica, which saw its file change sooner, signs with it sooner.
            may_sign = stage.begins - DELAY_SECONDS < ends
            if may_sign and now < min(stage.begins, ends):
                found.setdefault(stage.key, KeyUse.NEXT)
            elif may_sign and ends <= now < ends + kept_seconds:
                previous.append(stage.key)
        for key in previous:
            found.setdefault(key, KeyUse.PREVIOUS)
        return found

    def next_at(self, now: float) -> float | None:
        """Return when another key begins to sign, None if none will."""
        coming = [at for stage, ends in self._with_ends() if now < (at := stage.begins) < ends]
        return min(coming, default=None)

    def replaced(self, place: int, key: SigningKey, now: float) -> "Timeline":
        """Return the timeline after a file's key was replaced: rule 4.

        A replaced key that would sign soon does so all the same, or stays published, as it may sign
        on a replica that sees the change later. If the place's time is over, nothing signs with the
        new key.
        """
        own = [stage for stage in self.stages if stage.place == place]
        others = [stage for stage in self.stages if stage.place != place]
        kept = [stage for stage in own if stage.begins < now + AHEAD_SECONDS + DELAY_SECONDS]
        if sum(stage.begins > now for stage in kept) >= MAX_WAITING:
            kept.pop()
        if not kept or kept[-1].key != key:
            kept.append(Stage(place, max(own[0].begins, now + AHEAD_SECONDS), key))
        # Of two that begin at once the later one signs: sorting keeps their order.
        return Timeline(tuple(sorted([*others, *kept], key=_order)))

    def newest(self, place: int) -> SigningKey:
        """Return the last key of a place."""
        return [stage.key for stage in self.stages if stage.place == place][-1]

    def moved(self, place: int, to: int, begins: float) -> list[Stage]:
        """Return the stages of a place at another place, none before ``begins``."""
        own = (stage for stage in self.stages if stage.place == place)
        return [Stage(to, max(stage.begins, begins), stage.key) for stage in own]

    def without_ended(self, now: float, kept_seconds: float) -> "Timeline":
        """Return the timeline without replaced keys that nobody needs any more."""
        newest = {stage.place: stage for stage in self.stages}
        return Timeline(
            tuple(
                stage
                for stage, ends in self._with_ends()
                if newest[stage.place] is stage or now < ends + kept_seconds
            )
        )

    def _with_ends(self) -> list[tuple[Stage, float]]:
        """Return each stage, and when another takes over; a stage may end before it begins."""
        ends = inf
        found = []
        for stage in reversed(self.stages):
            found.append((stage, ends))
            ends = min(ends, stage.begins)
        return found[::-1]


def _order(stage: Stage) -> tuple[int, float]:
    return stage.place, stage.begins
