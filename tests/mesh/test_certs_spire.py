"""Keys from a real SPIRE: what they cost its agent, how soon they count, partners that rotate."""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from authz.adapters.keys import KeyCacheSettings
from authz.adapters.keys.fetcher import KeySourceConfig
from authz.adapters.keys.folder import KeyFolder
from authz.adapters.keys.store import KeyStore
from authz.core.jose import KeySettings
from mesh.support.spire import Spire
from support.world import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.needs("root", "spire-server", "spire-agent")
DOMAIN: Final = "corp.example"
ISSUER: Final = "https://spire.corp.example"
ALGORITHMS: Final = frozenset({"ES256", "RS256"})
_log: Final = logging.getLogger(__name__)  # what was measured: see it with --log-cli-level=info
ATTESTED: Final = "PID attested to have selectors"  # of each call, in the agent's log


@pytest.fixture(scope="module")
def spire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spire]:
    """A SPIRE whose agent knows this process, and logs each attestation."""
    made = Spire(tmp_path_factory.mktemp("s"), DOMAIN)
    config = made.folder / "agent.conf"
    config.write_text(config.read_text().replace('"INFO"', '"DEBUG"'))
    try:
        made.start()
        made.enter(f"spiffe://{DOMAIN}/ns/tests/sa/tests", os.getegid())
        yield made
    finally:
        made.stop()


@contextmanager
def running(folder: KeyFolder | None = None, **bundle: Any) -> Iterator[KeyStore]:
    """Run a store of one SPIFFE bundle, from its first fetch on."""
    settings = KeySettings.model_validate(
        {"spiffe_bundle": {"trust_domain": DOMAIN, **bundle}, "cooldown": "1s", "refresh": "10s"}
    )
    store = KeyStore({ISSUER: KeySourceConfig(settings, ALGORITHMS)}, folder)
    store.start()
    try:
        wait_until(lambda: store.status()[0].successes + store.status()[0].failures)
        yield store
    finally:
        store.close()


def following(spire: Spire) -> dict[str, Any]:
    """Return the settings of the agent's Workload API."""
    return {"workload_api": f"unix:{spire.agent_socket}"}


def kids(store: KeyStore) -> set[str]:
    """Return the keys that the store knows."""
    known = store.get(ISSUER)
    return set() if known is None else set(known.keys)


def attestations(spire: Spire) -> int:
    """Return how often the agent found out who calls it."""
    return (spire.folder / "agent.log").read_text().count(ATTESTED)


def is_known(store: KeyStore, key_id: str) -> Callable[[], bool]:
    """Return a condition: a token of this key could be verified."""
    return lambda: store.refresh(ISSUER, key_id, PATIENCE_SECONDS)


def test_unknown_keys_cost_the_agent_nothing(spire: Spire) -> None:
    """Thousands of tokens of unknown keys in nine seconds cause no attestation."""
    with running(**following(spire)) as store:
        before = attestations(spire)
        wait_until(lambda: attestations(spire) > before)  # that of the stream itself
        before, end, count = attestations(spire), time.monotonic() + 9, 0
        while time.monotonic() < end:
            count += 1
            assert not store.refresh(ISSUER, f"never-{count}", PATIENCE_SECONDS)

        _log.info("%d unknown keys, %d attestations", count, attestations(spire) - before)
        assert count > 1000
        assert attestations(spire) <= before + 1  # ``refresh`` may have confirmed it


def test_a_new_key_counts_at_once(spire: Spire) -> None:
    """A JWT key that was prepared and activated at once is known as soon as the agent knows it."""
    with running(**following(spire)) as store:
        spire.change_authority("jwt", "prepare", "activate")
        activated = time.monotonic()
        active = spire.authorities("jwt")["active"]["authority_id"]

        wait_until(is_known(store, active))
        _log.info("the new key is known after %.2f s", time.monotonic() - activated)
        spire.change_authority("jwt", "taint", "revoke")
        wait_until(lambda: kids(store) == {active})


def test_an_agent_that_restarts(spire: Spire, caplog: pytest.LogCaptureFixture) -> None:
    """Its keys stay while it is away, which is told once; new ones come when it is back."""
    with running(**following(spire)) as store:
        before = kids(store)
        spire.agent.stop()
        wait_until(lambda: store.status()[0].failures > 1)
        assert kids(store) == before
        assert caplog.text.count("agent.sock") == 1
        spire.start_agent()
        spire.change_authority("jwt", "prepare", "activate")
        active = spire.authorities("jwt")["active"]["authority_id"]
        wait_until(is_known(store, active))


def test_a_new_process_after_the_partners_rotation(spire: Spire, tmp_path: Path) -> None:
    """The kept bundle authenticates the endpoint; the bootstrap file of long ago would not."""
    bootstrap = tmp_path / "bootstrap.json"
    bootstrap.write_text(spire.bundle())
    place = {
        "endpoint": f"https://127.0.0.1:{spire.endpoint_port}",
        "profile": "https_spiffe",
        "endpoint_spiffe_id": spire.spiffe_id("/spire/server"),
        "bootstrap": str(bootstrap),
    }

    def kept() -> KeyFolder:
        return KeyFolder(KeyCacheSettings(folder=str(tmp_path / "keys")))

    spire.change_authority("x509", "prepare")
    with running(kept(), **place) as store:
        assert store.status()[0].last_error == ""
    spire.change_authority("x509", "activate", "taint", "revoke")
    wait_until(lambda: _error(None, place))  # the endpoint has a certificate of the new CA

    assert "certificate is invalid" in _error(None, place)
    assert _error(kept(), place) == ""
    bootstrap.write_text(spire.bundle())
    assert _error(None, place) == ""
    assert _error(kept(), place) == ""


def _error(folder: KeyFolder | None, place: dict[str, str]) -> str:
    """Return why the first fetch of a new process failed, "" if it did not."""
    with running(folder, **place) as store:
        return store.status()[0].last_error
