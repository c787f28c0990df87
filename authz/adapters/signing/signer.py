"""Signs our tokens with the key whose time it is, and says which keys verify them.

The files of the keys are watched. A file that turns invalid changes nothing: its last valid key
stays in use, and that is logged, counted and shown.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Any, Final

from authz.adapters.signing.key_file import KeyFile, shared
from authz.adapters.signing.private_key import SigningKey, SigningKeyError, make_signing_key
from authz.adapters.signing.settings import SigningKeySettings, SigningSettings
from authz.adapters.signing.timeline import KeyUse, Stage, Timeline, kept_seconds
from authz.adapters.signing_algorithm import SigningAlgorithm

_log: Final = logging.getLogger("authz.signing")


@dataclass(frozen=True, slots=True)
class SigningStatus:
    """The state of the keys that sign our tokens.

    Attributes:
        published: the number of published keys, by use.
        next_at: unix seconds, when another key begins to sign; None if none will.
        taken, refused: changed files whose key came into use, or that could not be used.
        is_failing: whether a file can't be used now, and its last valid key is.
    """

    published: Mapping[KeyUse, int]
    next_at: float | None
    taken: int
    refused: int
    is_failing: bool


@dataclass(frozen=True, slots=True)
class SigningPlan:
    """Keys that were read for other settings, and are not in use yet."""

    settings: SigningSettings
    files: tuple[KeyFile, ...]
    timeline: Timeline
    kept_seconds: float


class Signer:
    """The signer of an issuer's tokens. ``sign`` and ``jwks`` never wait; any thread may call."""

    def __init__(
        self,
        settings: SigningSettings,
        lifetime_seconds: float,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Read the keys; with ``make``, make a missing one. Raises SigningKeyError.

        ``lifetime_seconds`` is the longest time for which a signed token is valid.
        """
        self._wall = wall
        self._lock = threading.Lock()  # between ``look`` and ``take``; no signature waits for it
        self._taken = 0
        self._refused = 0
        self._in_use = _plan(settings, lifetime_seconds, None)
        self._told = self._in_use.timeline.signing(wall()).kid

    def sign(self, typ: str, claims: dict[str, Any]) -> str:
        """Return the claims as a JWT of this ``typ``, signed with the key whose time it is."""
        return self._in_use.timeline.signing(self._wall()).sign(typ, claims)

    def jwks(self) -> bytes:
        """Return the public keys as a JWK Set (RFC 7517 section 5)."""
        return json.dumps({"keys": [key.jwk for key in self._published()]}).encode()

    def algorithms(self) -> tuple[str, ...]:
        """Return the algorithms of the published keys, sorted."""
        return tuple(sorted({str(key.algorithm) for key in self._published()}))

    def _published(self) -> Mapping[SigningKey, KeyUse]:
        plan = self._in_use
        return plan.timeline.published(self._wall(), plan.kept_seconds)

    def status(self) -> SigningStatus:
        """Return the state of the keys."""
        uses = list(self._published().values())
        return SigningStatus(
            {use: uses.count(use) for use in KeyUse},
            self._in_use.timeline.next_at(self._wall()),
            self._taken,
            self._refused,
            any(file.fault for file in self._in_use.files),
        )

    def look(self) -> bool:
        """Check the files, and put changed keys into use. Never raises for what is in them.

        Returns True if a file is being written, and must soon be checked again.
        """
        with self._lock:
            plan = self._in_use
            timeline = plan.timeline.without_ended(self._wall(), plan.kept_seconds)
            for place, file in enumerate(plan.files):
                if file.changed(time.monotonic()):
                    timeline = self._changed(timeline, place, file)
            self._in_use = replace(plan, timeline=timeline)
            self._tell_who_signs()
            return any(file.is_pending for file in plan.files)

    def _tell_who_signs(self) -> None:
        kid = self._in_use.timeline.signing(self._wall()).kid
        if kid != self._told:
            self._told = kid
            _log.info("another key signs now", extra={"kid": kid})

    def _changed(self, timeline: Timeline, place: int, file: KeyFile) -> Timeline:
        file.fault = file.fault or _shared_key(self._in_use.files, place)
        if file.fault:
            self._refused += 1
            _log.error("key not reloaded; the last valid one stays in use: %s", file.fault)
            return timeline
        self._taken += 1
        _log.info("signing key reloaded", extra={"file": file.path, "kid": file.key.kid})
        return timeline.replaced(place, file.key, self._wall())

    def plan(self, settings: SigningSettings, lifetime_seconds: float) -> SigningPlan:
        """Read the keys of other settings, for ``take``. Raises SigningKeyError.

        Files that are in the settings in use as well are not read again.
        """
        with self._lock:
            return _plan(settings, lifetime_seconds, self._in_use)

    def take(self, plan: SigningPlan) -> None:
        """Put a plan into use, with changes of its files since it was made."""
        with self._lock:
            timeline = plan.timeline
            for place, file in enumerate(plan.files):
                if not file.fault and timeline.newest(place) != file.key:
                    timeline = timeline.replaced(place, file.key, self._wall())
            self._in_use = replace(plan, timeline=timeline)


def _plan(
    settings: SigningSettings, lifetime_seconds: float, before: SigningPlan | None
) -> SigningPlan:
    """Read the keys of settings. Raises SigningKeyError."""
    if settings.make is not None and make_signing_key(Path(settings.make), SigningAlgorithm.ES256):
        _log.warning("made a signing key, for trying", extra={"file": settings.make})
    places = (
        {} if before is None else {entry: at for at, entry in enumerate(_entries(before.settings))}
    )
    files: list[KeyFile] = []
    stages: list[Stage] = []
    for place, entry in enumerate(_entries(settings)):
        if before is not None and entry in places:
            files.append(before.files[places[entry]])
            stages += before.timeline.moved(places[entry], place, entry.begins)
        else:
            files.append(KeyFile(entry.file))
            stages.append(Stage(place, entry.begins, files[-1].key))
        if fault := _shared_key(files, place):
            raise SigningKeyError(fault)
    stages[0] = replace(stages[0], begins=-inf)
    # Tokens of a longer lifetime, which the settings had before, are still in force.
    kept = max(kept_seconds(lifetime_seconds), 0.0 if before is None else before.kept_seconds)
    return SigningPlan(settings, tuple(files), Timeline(tuple(stages)), kept)


def _entries(settings: SigningSettings) -> tuple[SigningKeySettings, ...]:
    """Return the keys' entries: those of the list, or that of the key that is made for trying."""
    return settings.keys if settings.make is None else (SigningKeySettings(file=settings.make),)


def _shared_key(files: Sequence[KeyFile], place: int) -> str:
    """Say that a file has the key of another; "" if none has."""
    file = files[place]
    for other in files:
        if other is not file and other.key == file.key:
            return shared(file.path, other.path)
    return ""
