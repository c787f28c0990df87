"""What one part of a config says of another: names that must exist, and must be there once.

Works on the data as written, before it is known to be good, so that these problems come in the same
list as all the others; what has the wrong shape is passed over here and reported there, and so is
what refers to it.
"""

from typing import Any, Final

from authz.config.merged import Merged
from authz.config.nearest import nearest_or_all
from authz.config.problems import Problem
from authz.config.rules import Found, rule_problems
from authz.spiffe import SpiffeId, SpiffeIdError, TrustDomain

_UNIQUE: Final = (("agents", "id"), ("issuers", "issuer"), ("routes", "name"))


def reference_problems(merged: Merged) -> list[Problem]:
    """Every reference that leads nowhere, and every name that is there twice."""
    data = merged.data
    found = [
        *_grants(data),
        *_issuers(data),
        *_audiences(data),
        *_trust_domains(data),
        *_domains_of_profiles(data),
        *rule_problems(data),
        *_twice(merged),
    ]
    return [merged.problem(place, message) for place, message in found]


def _items(data: Any, key: str) -> list[tuple[int, dict[str, Any]]]:  # noqa: ANN401 - raw data
    listed = data.get(key)
    listed = listed if isinstance(listed, tuple) else ()
    return [(at, item) for at, item in enumerate(listed) if isinstance(item, dict)]


def _names(value: Any) -> list[str]:  # noqa: ANN401 - raw data
    listed = value if isinstance(value, tuple) else ()
    return [name for name in listed if isinstance(name, str)]


def _grants(data: dict[str, Any]) -> Found:
    grants = data.get("grants")
    if not isinstance(grants, dict):
        return
    for section in ("agents", "principals"):
        for at, item in _items(data, section):
            for number, name in enumerate(_names(item.get("grants"))):
                if name not in grants:
                    message = f"no grant {name!r}{nearest_or_all(name, grants, 'known')}"
                    yield (section, at, "grants", number), message


def _issuers(data: dict[str, Any]) -> Found:
    issuers = _items(data, "issuers")
    known = [name for _, item in issuers if (name := item.get("issuer")) and isinstance(name, str)]
    if len(known) < len(issuers):
        return
    for at, item in _items(data, "principals"):
        match = item.get("match")
        issuer = match.get("issuer") if isinstance(match, dict) else None
        if isinstance(issuer, str) and issuer not in known:
            message = f"{issuer!r} is not one of the issuers, which are compared byte for byte"
            message += nearest_or_all(issuer, known, "known")
            yield ("principals", at, "match", "issuer"), message


def _audiences(data: dict[str, Any]) -> Found:
    """A route for whose audience no issuer's token can be denies everything, surely by mistake."""
    audiences = [_names(item.get("audiences")) for _, item in _items(data, "issuers")]
    if not all(audiences):
        return
    known = {name for names in audiences for name in names}
    for at, item in _items(data, "routes"):
        resource = item.get("resource")
        named = _names(item.get("audiences"))
        for number, name in enumerate(named):
            if name not in known:
                yield ("routes", at, "audiences", number), "not one of any issuer's audiences"
        if isinstance(resource, str) and not known.intersection({resource, *named}):
            message = "tokens must be for it, and it is not one of any issuer's audiences"
            yield ("routes", at, "resource"), message


def _trust_domains(data: dict[str, Any]) -> Found:
    known = _names(data.get("trust_domains"))
    for at, name in enumerate(known):
        try:
            TrustDomain.parse(name)
        except SpiffeIdError as error:
            yield ("trust_domains", at), str(error)
    if not known:
        return
    for at, item in _items(data, "issuers"):
        for number, name in enumerate(_names(item.get("actors_from"))):
            if name not in known:
                yield ("issuers", at, "actors_from", number), "not one of trust_domains"
    for at, item in _items(data, "agents"):
        if _domain_of(item.get("id")) not in {None, *known}:
            yield ("agents", at, "id"), "its trust domain is not one of trust_domains"


def _domains_of_profiles(data: dict[str, Any]) -> Found:
    known = _names(data.get("trust_domains"))
    profiles = data.get("profiles")
    for key, item in (profiles if isinstance(profiles, dict) else {}).items():
        domains = item.get("trust_domains") if isinstance(item, dict) else None
        for number, name in enumerate(_names(domains)):
            if known and name not in known:
                yield ("profiles", key, "trust_domains", number), "not one of trust_domains"


def _domain_of(text: Any) -> str | None:  # noqa: ANN401 - raw data
    try:
        return SpiffeId.parse(text).trust_domain.name if isinstance(text, str) else None
    except SpiffeIdError:
        return None


def _twice(merged: Merged) -> Found:
    for section, member in _UNIQUE:
        first: dict[str, int] = {}
        for at, item in _items(merged.data, section):
            name = item.get(member)
            if not isinstance(name, str):
                continue
            if name in first:
                here, _ = merged.origin((section, at))
                where = merged.where((section, first[name], member), here)
                yield (section, at, member), f"{name} stands {where} already"
            first.setdefault(name, at)
