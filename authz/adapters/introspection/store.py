"""Keeps the answers about opaque tokens by digests of the tokens: no token is kept."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from typing import Final

import msgspec
from cachetools import TLRUCache

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
        self._lock = threading.Lock()  # not on the path of remembered decisions
        # Each entry takes its share of the bytes at least: so the bytes bound the entries as well.
        share = -(-max_bytes // entries)
        self._kept: TLRUCache[bytes, _Kept] = TLRUCache(
            max_bytes,
            lambda _key, kept, _now: kept.ends,
            monotonic,
            getsizeof=lambda kept: max(share, _bytes(kept)),
        )

    def get(self, key: bytes) -> IntrospectionAnswer | None:
        """Return the answer of a key, None if it is missing or has expired."""
        with self._lock:
            kept = self._kept.get(key)
        return None if kept is None else kept.answer

    def put(self, key: bytes, answer: IntrospectionAnswer, asked: float) -> None:
        """Keep an answer; ``asked`` is when it was asked for, in monotonic seconds.

        The answer that was used longest ago makes room. An answer that is too large is not kept.
        """
        kept = _Kept(answer, asked + answer.usable_until - answer.answered_at)
        with self._lock, suppress(ValueError):  # larger than all of it
            self._kept.pop(key, None)  # one that is not kept must not leave the one before
            self._kept[key] = kept

    def __len__(self) -> int:
        """Return the number of answers held; one that has expired may count."""
        with self._lock:
            return len(self._kept)


def key_of(place: bytes, token: str) -> bytes:
    """Return the key of a token at the issuer whose settings have the digest ``place``."""
    return sha256(place + token.encode()).digest()


def _bytes(kept: _Kept) -> int:
    return _ENTRY_BYTES + _CLAIMS_FACTOR * len(kept.answer.text)
