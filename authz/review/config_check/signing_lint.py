"""Warns about keys that sign our own tokens: those for trying, and those that change too soon."""

from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from os.path import realpath
from typing import Final

from authz.adapters.signing import SigningSettings
from authz.config import Config, Place

# Verifiers may keep keys for minutes, and a config takes its time to reach all replicas.
SOON_SECONDS: Final = 3600.0
DAY_SECONDS: Final = 86400.0  # no token of ours is valid for so long


def signers(config: Config) -> Iterator[tuple[str, SigningSettings]]:
    """Yield each section that signs, by its name."""
    for name in ("assertions", "sts"):
        section = getattr(config, name, None)
        if isinstance(section, SigningSettings):
            yield name, section


def signing_warnings(config: Config, now: datetime) -> Iterator[tuple[Place, str]]:
    """Yield each doubtful key, and the warning."""
    for name, settings in signers(config):
        if settings.make is not None:
            message = (
                "a key that the server makes is for trying: replicas that do not share the file"
                " sign with different keys, and it is never replaced; list keys instead"
            )
            yield (name, "make"), message
        yield from _doubtful_times(name, settings, now.timestamp())
    if config.assertions is not None and config.sts is not None:
        yield from _shared(config.assertions, config.sts)
    if config.assertions is not None:
        named = [issuer.issuer for issuer in config.issuers]
        if config.assertions.issuer in (*named, config.sts and config.sts.issuer):
            message = (
                "tokens have the same issuer, so verifiers of the ones could be given the keys of"
                " the others: give assertions an issuer of their own"
            )
            yield ("assertions", "issuer"), message


def _shared(assertions: SigningSettings, tokens: SigningSettings) -> Iterator[tuple[Place, str]]:
    """Find keys that sign assertions and tokens alike."""
    taken = {realpath(file) for _, file in _files(assertions)}
    for place, file in _files(tokens):
        if realpath(file) in taken:
            message = (
                "assertions are signed with it too: give each kind of token keys of its own"
                " (RFC 8725 section 3.12)"
            )
            yield ("sts", *place), message


def _files(settings: SigningSettings) -> Iterator[tuple[Place, str]]:
    yield from ((("keys", at, "file"), key.file) for at, key in enumerate(settings.keys))
    if settings.make is not None:
        yield ("make",), settings.make


def _doubtful_times(
    name: str, settings: SigningSettings, now: float
) -> Iterator[tuple[Place, str]]:
    for at, (_, key) in enumerate(pairwise(settings.keys), 1):
        if now < key.begins < now + SOON_SECONDS:
            message = (
                "verifiers may not know the key by then: list a new key an hour before it signs"
            )
            yield (name, "keys", at, "signs_from"), message
        if key.begins + DAY_SECONDS < now:
            message = "the next key has signed for a day: take this one off the list"
            yield (name, "keys", at - 1), message
