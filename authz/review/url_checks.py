"""Checks the URLs that a server asks: each to which no request can ever be sent."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from authz.adapters.http_fetch import is_refused_address
from authz.adapters.keys import FetchError, check_issuer_url
from authz.config import Config, Place


def url_problems(config: Config) -> Iterator[tuple[Place, str]]:
    """Yield the place of each URL that the server refuses to ask, and why. Looks up no name."""
    for at, issuer in enumerate(config.issuers):
        if issuer.keys is not None:
            try:
                check_issuer_url(issuer.keys, issuer.issuer)
            except FetchError as error:
                message = f"{error}, so that discovery refuses it: use https, or set keys.insecure"
                yield ("issuers", at, "issuer"), message
    for place, url, may_be_any in _asked(config):
        if not may_be_any and _is_refused(urlsplit(url).hostname or ""):
            yield place, _why_refused(place)


def _asked(config: Config) -> Iterator[tuple[Place, str, bool]]:
    """Yield each URL, its place, and whether it may lead to any address."""
    for at, issuer in enumerate(config.issuers):
        keys, asked = issuer.keys, issuer.introspection
        for name in ("jwks_uri", "discovery_url"):
            if keys is not None and (url := getattr(keys, name)):
                yield ("issuers", at, "keys", name), url, keys.allow_any_address
        if asked is not None:
            place: Place = ("issuers", at, "introspection", "url")
            yield place, asked.url, asked.allow_any_address
    if config.pdp is not None:
        yield ("pdp", "url"), config.pdp.url, False


def _is_refused(host: str) -> bool:
    try:
        return is_refused_address(host)
    except ValueError:  # a name
        return False


def _why_refused(place: Place) -> str:
    cure = "name the server" if place[0] == "pdp" else "name the server, or set allow_any_address"
    return f"a link-local, metadata or multicast address is never asked: {cure}"
