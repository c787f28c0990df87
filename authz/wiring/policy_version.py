"""Computes a policy's version: a hash of everything in a config that decisions depend on."""

from collections.abc import Iterator
from hashlib import sha256
from typing import Final

from pydantic import BaseModel
from pydantic_core import to_json

from authz.config import Config

# Sections that do not affect which requests are allowed.
_NOT_POLICY: Final = {
    *("server", "admin", "audit", "traces", "include"),
    *("cache", "key_cache", "replay", "revocations"),
}
_VERSION_CHARS: Final = 16  # 64 bits are enough for all versions that an operator will ever write


def compute_policy_version(config: Config) -> str:
    """Return the hash of everything in a config that decisions depend on.

    Hashes its JSON in small pieces: hashing that of 100,000 rules at once would stop every other
    thread for half a second.
    """
    members = {name: value for name, value in config if name not in _NOT_POLICY}
    whole = sha256()
    for piece in _iter_json(members):
        whole.update(piece)
    return whole.hexdigest()[:_VERSION_CHARS]


def _iter_json(value: object) -> Iterator[bytes]:
    """Yield the JSON of settings an item at a time, each as ``model_dump_json`` writes it."""
    if isinstance(value, BaseModel):
        yield value.model_dump_json().encode()
    elif isinstance(value, dict):
        yield b"{"
        for at, (key, member) in enumerate(value.items()):
            yield (b"," if at else b"") + to_json(key) + b":"
            yield from _iter_json(member)
        yield b"}"
    elif isinstance(value, tuple):
        yield b"["
        for at, item in enumerate(value):
            yield b"," if at else b""
            yield from _iter_json(item)
        yield b"]"
    else:
        yield to_json(value)
