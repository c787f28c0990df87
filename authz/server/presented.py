"""The answer of /presented: what proxies presented, to one process or to all workers together."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from authz import __version__
from authz.edge.presentation import Kept

# The members that name the kind of a check.
_KIND: Final = ("protocol", "proxy", "profile", "profile_by", "route", "named_route")
_COUNTS: Final = ("decided", "seen", "with_credential")


def presented_by(policy_version: str, begun_at: float, kept: Iterable[Kept]) -> dict[str, Any]:
    """Return the answer of one process, which began at these unix seconds."""
    return {
        "version": __version__,
        "policy_version": policy_version,
        "begun_at": begun_at,
        "silent_workers": 0,
        "presented": [msgspec.to_builtins(one) for one in kept],
    }


def merged_presented(answers: Sequence[dict[str, Any] | None]) -> dict[str, Any]:
    """Return the answer of all workers, from theirs; None stands for one that did not answer.

    Of each kind of check the last presentation is kept, with the counts of all.
    """
    heard = [answer for answer in answers if answer is not None]
    merged = presented_by("", 0.0, ())
    if heard:
        newest = max(heard, key=lambda answer: float(answer["begun_at"]))
        first = min(float(answer["begun_at"]) for answer in heard)
        merged |= {"policy_version": newest["policy_version"], "begun_at": first}
    merged["silent_workers"] = len(answers) - len(heard)
    merged["presented"] = _by_kind(one for answer in heard for one in answer["presented"])
    return merged


def _by_kind(kept: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for one in kept:
        kind = tuple(str(one["last"][name]) for name in _KIND)
        known = found.get(kind)
        if known is None:
            found[kind] = dict(one)
            continue
        if one["last"]["at"] > known["last"]["at"]:
            known["last"] = one["last"]
        for count in _COUNTS:
            known[count] += one[count]
    return list(found.values())
