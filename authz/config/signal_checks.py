"""Checks the ``signals`` section of a config against its issuers, and where signals are kept."""

from collections.abc import Iterator
from typing import Any, Final

from authz.config.nearest import nearest_or_all
from authz.config.rule_checks import Found
from authz.config.yaml_document import Place

_ABOUT: Final = "; if its events are about the tokens of another issuer, name that in about"


def signal_problems(data: dict[str, Any]) -> Found:
    """Yield what no signal could have an effect by: unknown issuers, shared paths, no register."""
    signals = data.get("signals")
    if not isinstance(signals, dict):
        return
    yield from _unkept(data)
    issuers = {
        item["issuer"]: item.get("keys")
        for item in _items(data.get("issuers"))
        if isinstance(item.get("issuer"), str)
    }
    for place, name, needs_keys in _named(signals):
        if name not in issuers:
            message = f"{name!r} is not one of the issuers; they are compared byte for byte"
            cure = _ABOUT if place[1:2] + place[-1:] == ("transmitters", "issuer") else ""
            yield place, message + nearest_or_all(name, issuers, "known") + cure
        elif needs_keys and not issuers[name]:
            yield place, f"{name} has no keys in the config, so nothing of it can be verified"
    yield from _shared_paths(signals)
    yield from _differing_keys(signals)


def _unkept(data: dict[str, Any]) -> Found:
    revocations = data.get("revocations")
    file = revocations.get("file") if isinstance(revocations, dict) else None
    if data.get("store") is None and file is None:
        message = "what signals revoke must be kept: set store, or revocations.file"
        yield ("signals",), message


def _named(signals: dict[str, Any]) -> Iterator[tuple[Place, str, bool]]:
    """Yield the place of each issuer that signals are about, it, and whether it needs keys."""
    for at, item in enumerate(_items(signals.get("transmitters"))):
        key = "issuer" if item.get("about") is None else "about"
        if isinstance(name := item.get(key), str):
            yield ("signals", "transmitters", at, key), name, item.get("keys") is None
    for at, item in enumerate(_items(signals.get("logout"))):
        if isinstance(name := item.get("issuer"), str):
            yield ("signals", "logout", at, "issuer"), name, True


def _shared_paths(signals: dict[str, Any]) -> Found:
    first: set[str] = set()
    for place, path in _paths(signals):
        if path in first:
            yield place, f"{path} is already taken: give each its own path"
        first.add(path)


def _paths(signals: dict[str, Any]) -> Iterator[tuple[Place, str]]:
    for at, item in enumerate(_items(signals.get("transmitters"))):
        push = item.get("push")
        if isinstance(push, dict) and isinstance(path := push.get("path"), str):
            yield ("signals", "transmitters", at, "push", "path"), path
    for at, item in enumerate(_items(signals.get("logout"))):
        if isinstance(path := item.get("path"), str):
            yield ("signals", "logout", at, "path"), path


def _differing_keys(signals: dict[str, Any]) -> Found:
    """Find transmitters of one issuer that would have it sign with different keys."""
    first: dict[str, object] = {}
    for at, item in enumerate(_items(signals.get("transmitters"))):
        name, keys = item.get("issuer"), item.get("keys")
        if isinstance(name, str) and keys is not None and first.setdefault(name, keys) != keys:
            message = f"{name} has other keys in an earlier entry: give it the same in each"
            yield ("signals", "transmitters", at, "keys"), message


def _items(listed: object) -> list[dict[str, Any]]:
    """Return the mappings of a list; none if any item is something else, which is told already."""
    if not isinstance(listed, tuple) or not all(isinstance(item, dict) for item in listed):
        return []
    return list(listed)
