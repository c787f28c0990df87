"""Checks the names by which one part of a config refers to another: each must exist, and once.

Works on the data as written, before its types are checked, so that these problems are in the same
list as all the others. A value of a wrong type, and references to it, are skipped here: the check
of types reports it.
"""

from collections.abc import Iterator
from typing import Any, Final

from authz.config.approval_checks import approval_problems
from authz.config.exchange_checks import exchange_problems
from authz.config.merged import MergedConfig
from authz.config.nearest import nearest_or_all
from authz.config.problems import Problem
from authz.config.rule_checks import Found, rule_problems
from authz.config.signal_checks import signal_problems
from authz.config.sts_checks import sts_problems
from authz.config.upstream_checks import upstream_problems
from authz.config.yaml_document import Place
from authz.core.patterns import ANY
from authz.core.spiffe import SCHEME, SpiffeIdError, SpiffePattern, trust_domain_text

_UNIQUE: Final = (("agents", "id"), ("issuers", "issuer"), ("routes", "name"))


def reference_problems(merged: MergedConfig) -> list[Problem]:
    """Return every reference to an unknown name, and every name that is defined twice."""
    data = merged.data
    found = [
        *_grants(data),
        *_issuers(data),
        *_introspections(merged),
        *_audiences(data),
        *_trust_domains(data),
        *rule_problems(data),
        *approval_problems(data),
        *signal_problems(data),
        *upstream_problems(data),
        *sts_problems(data),
        *exchange_problems(data),
        *_twice(merged),
        *_bundles_twice(merged),
    ]
    return [merged.problem(place, message) for place, message in found]


def _items(data: dict[str, Any], key: str) -> list[tuple[int, dict[str, Any]]]:
    listed = data.get(key)
    listed = listed if isinstance(listed, tuple) else ()
    return [(at, item) for at, item in enumerate(listed) if isinstance(item, dict)]


def _names(value: object) -> list[str]:
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
    if not issuers or len(known) < len(issuers):
        return
    known += [SCHEME + name for name in _names(data.get("trust_domains"))]  # by an SVID alone
    for at, item in _items(data, "principals"):
        match = item.get("match")
        issuer = match.get("issuer") if isinstance(match, dict) else None
        if isinstance(issuer, str) and issuer not in known:
            message = f"{issuer!r} is not one of the issuers; they are compared byte for byte"
            message += nearest_or_all(issuer, known, "known")
            yield ("principals", at, "match", "issuer"), message


def _introspections(merged: MergedConfig) -> Found:
    """Find introspections whose prefixes do not decide whom to ask about an opaque token."""
    first: dict[str, Place] = {}
    for at, item in _items(merged.data, "issuers"):
        asked = item.get("introspection")
        if not isinstance(asked, dict):
            continue
        place: Place = ("issuers", at, "introspection")
        listed = [
            ((*place, "prefixes", number), prefix)
            for number, prefix in enumerate(_names(asked.get("prefixes")))
        ]
        for here, prefix in listed or [(place, "")]:
            if prefix in first:
                yield here, _same_tokens(merged, here, prefix, first[prefix])
            first.setdefault(prefix, here)


def _same_tokens(merged: MergedConfig, here: Place, prefix: str, other: Place) -> str:
    where = merged.where(other, merged.origin(here)[0])
    if prefix:
        return f"the prefix {prefix} is already listed {where}: a token is asked about at one place"
    return (
        f"it has no prefixes, and neither has the introspection {where}: give one of them the"
        " prefixes of its tokens, so that it is known whom to ask"
    )


def _audiences(data: dict[str, Any]) -> Found:
    """Find audiences that no issuer's tokens can have: such a route would deny everything."""
    audiences = [_names(item.get("audiences")) for _, item in _items(data, "issuers")]
    if not audiences or not all(audiences) or any(ANY in names for names in audiences):
        return  # the audiences are unknown; another problem reports that
    known = {name for names in audiences for name in names}
    for at, item in _items(data, "routes"):
        resource = item.get("resource")
        named = _names(item.get("audiences"))
        for number, name in enumerate(named):
            if name not in known:
                yield (
                    ("routes", at, "audiences", number),
                    "no issuer lists it in audiences: add it there",
                )
        if isinstance(resource, str) and not known.intersection({resource, *named}):
            message = "tokens must be for it, and no issuer lists it in audiences: add it there"
            yield ("routes", at, "resource"), message


def _trust_domains(data: dict[str, Any]) -> Found:
    known = _names(data.get("trust_domains"))
    is_good = bool(known)
    for at, name in enumerate(known):
        try:
            trust_domain_text(name)
        except SpiffeIdError as error:
            is_good = False
            yield ("trust_domains", at), str(error)
    if not is_good:
        return
    for place, name in _named_domains(data):
        if name not in known:
            message = f"{name} is not one of trust_domains{nearest_or_all(name, known, 'known')}"
            yield place, message


def _named_domains(data: dict[str, Any]) -> Iterator[tuple[Place, str]]:
    """Yield each trust domain that must be one of ``trust_domains``."""
    for at, item in _items(data, "issuers"):
        for number, name in enumerate(_names(item.get("actors_from"))):
            yield ("issuers", at, "actors_from", number), name
    for key, item in _members(data.get("profiles")).items():
        for number, name in enumerate(_names(_members(item).get("trust_domains"))):
            yield ("profiles", key, "trust_domains", number), name
    for place, text in _agents(data):
        if (domain := _domain_of(text)) is not None:
            yield place, domain


def _agents(data: dict[str, Any]) -> Iterator[tuple[Place, object]]:
    """Yield each ID or pattern of agents."""
    for at, item in _items(data, "agents"):
        yield ("agents", at, "id"), item.get("id")
    for at, item in _items(data, "principals"):
        for number, text in enumerate(_names(item.get("agents"))):
            yield ("principals", at, "agents", number), text
    for at, item in _items(data, "issuers"):
        for key, text in _members(_members(item.get("actor")).get("map")).items():
            yield ("issuers", at, "actor", "map", key), text


def _members(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _domain_of(text: object) -> str | None:
    try:
        return SpiffePattern.parse(text).trust_domain.name if isinstance(text, str) else None
    except ValueError:
        return None


def _twice(merged: MergedConfig) -> Found:
    for section, member in _UNIQUE:
        first: dict[str, int] = {}
        for at, item in _items(merged.data, section):
            name = item.get(member)
            if not isinstance(name, str):
                continue
            if name in first:
                here, _ = merged.origin((section, at))
                where = merged.where((section, first[name], member), here)
                yield (section, at, member), f"{name} is already defined {where}"
            first.setdefault(name, at)


def _bundles_twice(merged: MergedConfig) -> Found:
    """Find trust domains whose bundle two issuers have: a token without iss could be of either."""
    first: dict[str, int] = {}
    at_domain = ("keys", "spiffe_bundle", "trust_domain")
    for at, item in _items(merged.data, "issuers"):
        name = _members(_members(item.get("keys")).get("spiffe_bundle")).get("trust_domain")
        if not isinstance(name, str):
            continue
        if name in first:
            here, _ = merged.origin(("issuers", at))
            where = merged.where(("issuers", first[name], *at_domain), here)
            message = (
                f"an issuer with the bundle of {name} is already defined {where}, and a token"
                " without iss could be of either: keep one"
            )
            yield ("issuers", at, *at_domain), message
        first.setdefault(name, at)
