"""Checks the URLs that a server calls, for those to which no request can ever be sent."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from authz.config import Config, Place
from authz.core.delegation import IssuerSettings
from authz.core.jose import KeySettings
from authz.core.urls import is_plaintext
from authz.review.config_check.receivers import receivers
from authz.review.config_check.store_lint import store_places


def url_problems(config: Config) -> Iterator[tuple[Place, str]]:
    """Yield the place of each URL that the server refuses to call, and why. Looks up no name."""
    for at, issuer in enumerate(config.issuers):
        yield from ((("issuers", at, "issuer"), why) for why in _why_undiscoverable(issuer))
    for place, url, may_be_any in _asked(config):
        if not may_be_any and _is_refused(urlsplit(url).hostname or ""):
            yield place, _why_refused(place)


def _asked(config: Config) -> Iterator[tuple[Place, str, bool]]:
    """Yield each URL, its place, and whether it may lead to any address."""
    for at, issuer in enumerate(config.issuers):
        yield from _of_issuer(issuer, ("issuers", at))
    for at, transmitter in enumerate(config.signals.transmitters if config.signals else ()):
        place: Place = ("signals", "transmitters", at)
        yield from _of_keys(transmitter.keys, (*place, "keys"))
        if (poll := transmitter.poll) is not None:
            yield (*place, "poll", "url"), poll.url, poll.allow_any_address
    if config.pdp is not None:
        yield ("pdp", "url"), config.pdp.url, False
    if config.store is not None:
        yield from ((place, url, False) for place, url in store_places(config.store))
    for receiver in receivers(config):
        yield receiver.address_place, receiver.url, False


def _of_issuer(issuer: IssuerSettings, place: Place) -> Iterator[tuple[Place, str, bool]]:
    yield from _of_keys(issuer.keys, (*place, "keys"))
    for name, asked in (("introspection", issuer.introspection), ("exchange", issuer.exchange)):
        if asked is not None:
            yield (*place, name, "url"), asked.url, asked.allow_any_address
    if (lists := issuer.status_list) is not None:
        for number, url in enumerate(lists.uris):
            yield (*place, "status_list", "uris", number), url, lists.allow_any_address


def _of_keys(keys: KeySettings | None, place: Place) -> Iterator[tuple[Place, str, bool]]:
    for name in ("jwks_uri", "discovery_url"):
        if keys is not None and (url := getattr(keys, name)):
            yield (*place, name), url, keys.allow_any_address


def _why_undiscoverable(issuer: IssuerSettings) -> Iterator[str]:
    keys = issuer.keys
    if keys is None or not keys.discovery or not is_plaintext(issuer.issuer):
        return
    from authz.adapters.fetched import FetchError  # noqa: PLC0415 - HTTP takes long to load
    from authz.adapters.keys.sources import check_issuer_url  # noqa: PLC0415 - HTTP takes long to load

    try:
        check_issuer_url(keys, issuer.issuer)
    except FetchError as error:
        yield f"{error}, so that discovery refuses it: use https, or set keys.insecure"


def _is_refused(host: str) -> bool:
    if ":" not in host and not host.rpartition(".")[2].isdecimal():
        return False  # a name
    from authz.adapters.http_connection import is_refused_address  # noqa: PLC0415 - likewise

    try:
        return is_refused_address(host)
    except ValueError:
        return False


def _why_refused(place: Place) -> str:
    may_be_any = place[0] in {"issuers", "signals"}
    cure = "name the server, or set allow_any_address" if may_be_any else "name the server"
    return f"a link-local, metadata or multicast address is never asked: {cure}"
