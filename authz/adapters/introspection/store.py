"""Keeps the answers about opaque tokens by digests of the tokens: no token is kept."""

import time
from collections.abc import Callable
from hashlib import sha256
from typing import Final

import msgspec

from authz.core.bounded_map import BoundedMap
from authz.core.delegation.opaque import IntrospectionAnswer

MAX_ANSWERS: Final = 20_000  # as many as verified tokens are remembered by default
MAX_BYTES: Final = 64 * 1024 * 1024
_ENTRY_BYTES: Final = 600  # the digest, dict slots, the entry and the answer
_CLAIMS_FACTOR: Final = 5  # the text, and Python's objects for each byte of it


class _Kept(msgspec.Struct, frozen=True, gc=False):
    """An answer, and its end on the monotonic clock, which can't be set back."""

    answer: IntrospectionAnswer
    ends: float


class AnswerStore:
    """A bounded map of answers, active or not. Many threads may use it."""

    def __init__(
        self,
        entries: int = MAX_ANSWERS,
        max_bytes: int = MAX_BYTES,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin empty; ``monotonic`` returns the seconds by which answers end."""
        self._monotonic = monotonic
        self._kept: BoundedMap[bytes, _Kept] = BoundedMap(entries, max_bytes, _bytes)

    def get(self, key: bytes) -> IntrospectionAnswer | None:
        """Return the answer of a key, None if it is missing or has expired."""
        kept = self._kept.get(key)
        return None if kept is None or self._monotonic() >= kept.ends else kept.answer

    def put(self, key: bytes, answer: IntrospectionAnswer, asked: float) -> None:
        """Keep an answer; ``asked`` is when it was asked for, in monotonic seconds."""
        seconds = answer.usable_until - answer.answered_at
        self._kept.put(key, _Kept(answer, asked + seconds))

    def __len__(self) -> int:
        """Return the number of answers held, valid or expired.

        An answer used again may count twice.
        """
        return len(self._kept)


def key_of(place: bytes, token: str) -> bytes:
    """Return the key of a token at the issuer whose settings have the digest ``place``."""
    return sha256(place + token.encode()).digest()


def _bytes(_: bytes, kept: _Kept) -> int:
    return _ENTRY_BYTES + _CLAIMS_FACTOR * len(kept.answer.text)
