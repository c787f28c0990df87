"""What consents mean, as slow functions on the JSON of their lines that read nothing of `authz`."""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

_TYPES = {type(None): "n", bool: "b", int: "#", float: "#", str: "s", list: "l", dict: "o"}


def same(one: object, other: object) -> bool:
    """Whether two JSON values are the same."""
    if _TYPES[type(one)] != _TYPES[type(other)]:
        return False
    if isinstance(one, dict) and isinstance(other, dict):
        names = {*one, *other}
        return all(name in one and name in other and same(one[name], other[name]) for name in names)
    if isinstance(one, list) and isinstance(other, list):
        pairs = zip(one, other, strict=False)
        return len(one) == len(other) and all(same(*pair) for pair in pairs)
    return one == other


def covers(consent: Mapping[str, Any], asked: Mapping[str, Any], now: float) -> bool:
    """Whether a line of JSON, already parsed, is consent to what is asked."""
    if any(consent[name] != asked[name] for name in ("issuer", "subject", "agent")):
        return False
    if datetime.fromisoformat(consent["until"]).timestamp() <= now:
        return False
    details = consent.get("authorization_details")
    if "audiences" in consent and not all(a in consent["audiences"] for a in asked["audiences"]):
        return False
    most = consent.get("scopes", [] if details else asked["scopes"])
    if not all(scope in most for scope in asked["scopes"]):
        return False
    if details is None or asked["detail"] is None:
        return details is None and asked["detail"] is None
    return same(details[0], asked["detail"])


def is_covered(lines: Iterable[bytes], asked: Mapping[str, Any], now: float) -> bool:
    """Whether any line is consent; those that are not JSON are none."""
    for line in lines:
        try:
            consent = json.loads(line)
        except ValueError:
            continue
        if covers(consent, asked, now):
            return True
    return False
