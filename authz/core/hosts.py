"""Hosts in the config: exact, all hosts below a domain, or any; and how such patterns relate.

``*.corp.example`` matches one label in front of the domain, ``**.corp.example`` one or more.
Neither matches the domain itself, and a wildcard never stands for a part of a label. Of two
patterns that share a host, one covers the other.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Final

from pydantic import AfterValidator

from authz.core.pattern_hints import bare_host
from authz.core.patterns import ANY, REST
from authz.core.reason import Denied
from authz.core.request import canonical_host

_ONE: Final = f"{ANY}."
_DEEP: Final = f"{REST}."
_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?"
# A last label that begins with a digit makes an IPv4 address (WHATWG URL section 3.5).
_DOMAIN: Final = re.compile(rf"(?:{_LABEL}\.)*[a-z](?:[a-z0-9-]*[a-z0-9])?")
_PRIVATE: Final = "internal"  # reserved for private use (ICANN, July 2024): nobody can buy it


class _NotAHostError(ValueError):
    """A text that is not a host; the message shows the host that it may mean."""


def host_pattern(text: str) -> str:
    """Return a host pattern as it is written, if requests can match it. Raises ValueError.

    That is an exact host in lower case and without a port, ``*.`` or ``**.`` in front of a domain,
    or ``*`` for any host.
    """
    try:
        _check(text)
    except _NotAHostError as error:
        meant = bare_host(text)
        try:
            _check(meant)
        except ValueError:
            raise ValueError(f"{error}, such as orders.corp.example") from None
        raise ValueError(f"{error}: write {meant}") from None
    return text


def matching_patterns(host: str) -> Iterator[str]:
    """Yield each pattern that matches a host, the most exact first.

    For an IP address these include patterns that ``host_pattern`` refuses, so no config has them.
    """
    yield host
    domain = host.partition(".")[2]
    if domain:
        yield _ONE + domain
    while domain:
        yield _DEEP + domain
        domain = domain.partition(".")[2]
    yield ANY


def is_domain_pattern(pattern: str) -> bool:
    """Tell whether a pattern is for the hosts below a domain."""
    return _domain(pattern) is not None


def covers(outer: str, inner: str) -> bool:
    """Tell whether a pattern matches every host that the other pattern, or exact host, matches."""
    if outer in (ANY, inner):
        return True
    if outer.startswith(_DEEP):
        return inner.endswith(outer.removeprefix(REST))
    return outer.startswith(_ONE) and _domain(inner) is None and _parent(inner) == _domain(outer)


def cover_all(outers: Sequence[str], inners: Iterable[str]) -> bool:
    """Tell whether each of some patterns is covered by a single one of the others."""
    return all(any(covers(outer, inner) for outer in outers) for inner in inners)


def common_patterns(some: Iterable[str], others: Iterable[str]) -> tuple[str, ...]:
    """Return the patterns of the hosts that both lists of patterns match."""
    others = tuple(others)
    found = [
        narrower
        for one in some
        for other in others
        if (narrower := one if covers(other, one) else other if covers(one, other) else "")
    ]
    once = tuple(dict.fromkeys(found))
    return tuple(one for one in once if not any(covers(o, one) for o in once if o != one))


def _domain(pattern: str) -> str | None:
    """Return the domain below which a pattern matches hosts; None for an exact host and ``*``."""
    wildcard, dot, domain = pattern.partition(".")
    return domain if dot and wildcard in (ANY, REST) else None


def _parent(host: str) -> str:
    return host.partition(".")[2]


def _check(text: str) -> None:
    domain = _domain(text)
    if domain is not None:
        _check_domain(text.removesuffix(domain), domain)
    elif text != ANY:
        _check_host(text)


def _check_host(text: str, wildcard: str = "") -> None:
    if "/" in text or "@" in text:
        raise _NotAHostError("a host stands alone, without scheme, user, path and network mask")
    if ANY in text:
        raise ValueError(
            "a wildcard is one or more whole labels in front: *.corp.example for one label,"
            ' **.corp.example for one or more; or "*" alone for any host'
        )
    try:
        canonical = canonical_host(text)
    except Denied as denied:
        raise _NotAHostError(denied.detail) from None
    if canonical != text:
        raise ValueError(f"write hosts in lower case and without a port: {wildcard}{canonical}")


def _check_domain(wildcard: str, domain: str) -> None:
    """Check the domain after a wildcard: not an address, and not a domain that strangers share."""
    _check_host(domain, wildcard)
    if not _DOMAIN.fullmatch(domain):
        raise ValueError(
            "a wildcard is for hosts below a domain, and this is not one: an IP address is listed"
            " as it is"
        )
    if "." not in domain and domain != _PRIVATE:
        raise ValueError(
            f"others have hosts in the top-level domain {domain} too: name two labels or more after"
            f" the wildcard, as {wildcard}corp.{domain} (of single labels only {_PRIVATE} is taken)"
        )


HostText = Annotated[str, AfterValidator(host_pattern)]
"""The type of hosts in the config; the validator has checked them."""
