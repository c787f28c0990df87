"""Stores in real servers, as tests open them."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, Final

from authz.adapters.store.engine import EngineStore
from authz.adapters.store.settings import StoreSettings
from support.redis_server import RedisServer
from support.world import wait_until

_namespaces: Final = count(1)


def namespace() -> str:
    """Return a namespace that no other test has."""
    return f"test-{next(_namespaces)}"


@contextmanager
def opened_store(name: str = "", **settings: Any) -> Iterator[EngineStore]:
    """Open a store with these settings: ``url`` and others; redis:// is insecure by itself."""
    is_plain = str(settings.get("url", "")).startswith("redis://")
    plain = {"insecure": True} if is_plain else {}
    # The default is for a machine that is not busy with other tests.
    made = StoreSettings(**{"timeout": 5.0, **plain, **settings})
    store = EngineStore(made, name or namespace())
    store.start()
    try:
        yield store
    finally:
        store.close()


def aged(server: RedisServer, name: str) -> None:
    """Make a store's memory an hour older, once it has begun: it takes what was made before."""
    memory = f"{{authz:{name}}}:memory"
    with server.admin() as client:
        wait_until(lambda: client.hexists(memory, "since"))
        client.hincrbyfloat(memory, "since", -3600.0)
