"""Checks the store that replicas share: what it needs, and settings that are probably not meant."""

from collections.abc import Iterator
from importlib.util import find_spec
from urllib.parse import urlsplit

from authz.adapters.store import StoreSettings
from authz.config import Config, Place
from authz.core.extras import missing_extra

Found = Iterator[tuple[Place, str]]
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def store_problems(config: Config) -> Found:
    """Yield what keeps a server from using its store."""
    if config.store is not None and find_spec("redis") is None:
        yield ("store",), missing_extra("store", "store needs")


def store_places(settings: StoreSettings) -> Iterator[tuple[Place, str]]:
    """Yield the place of each address of a store, and a URL with its host."""
    if settings.url is not None:
        yield ("store", "url"), settings.url
    sentinels = settings.sentinel.addresses if settings.sentinel is not None else ()
    for at, address in enumerate(sentinels):
        yield ("store", "sentinel", "addresses", at), f"redis://{address}"
    for at, address in enumerate(settings.cluster):
        yield ("store", "cluster", at), f"redis://{address}"


def store_warnings(config: Config) -> Found:
    """Yield each doubtful setting of the store, and the warning."""
    settings = config.store
    if settings is None:
        return
    if settings.url is None and not settings.acknowledged_by:
        message = (
            "a failover can lose the newest marks and revocations: set acknowledged_by to the"
            " number of the store's replicas"
        )
        yield ("store", "acknowledged_by"), message
    hosts = {urlsplit(url).hostname for _, url in store_places(settings)} - {None}
    if not hosts or hosts <= _LOOPBACK:
        return
    if settings.insecure:
        message = "anyone on the network path can take revocations back: use TLS"
        yield ("store", "insecure"), message
    if settings.password_file is None and settings.tls.client is None:
        message = (
            "the store lets in whoever reaches it, and so they can take revocations back: set user"
            " and password_file, or tls.client"
        )
        yield ("store",), message
