"""Warns about keys that sign our own tokens: those for trying, and those that change too soon."""

from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
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
    yield from _confusable(config)


def _confusable(config: Config) -> Iterator[tuple[Place, str]]:
    """Yield what assertions share with access tokens: typ alone keeps them apart (RFC 8725)."""
    assertions, sts = config.assertions, config.sts
    if assertions is None:
        return
    issuers = {issuer.issuer for issuer in config.issuers}
    if assertions.issuer in issuers.union([] if sts is None else [sts.issuer]):
        message = (
            "access tokens have the same iss, so that a server that does not compare typ takes an"
            " assertion for one: give assertions a name of their own"
        )
        yield ("assertions", "issuer"), message
    shared = set() if sts is None else {key.file for key in sts.keys}
    for at, key in enumerate(assertions.keys):
        if key.file in shared:
            message = "it signs the token service's tokens too: give each its own keys"
            yield ("assertions", "keys", at, "file"), message


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
