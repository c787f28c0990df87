"""A federated bundle endpoint after a restart: whose certificate is good there, and whose not."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from authz.adapters.keys import KeyCacheSettings
from authz.adapters.keys.folder import KeyFolder
from authz.adapters.keys.store import KeyStore
from authz.core.jose import KeySettings
from lab.ca import Authority
from support.jwks_server import answer, ec_key
from support.spiffe_bundles import (
    DOMAIN,
    ENDPOINT,
    ISSUER,
    authority_entry,
    bundle,
    endpoint,
    entry,
    running_store,
    spiffe_endpoint,
)
from support.world import PATIENCE_SECONDS, wait_until

OLD, NEW = ec_key("old"), ec_key("new")


@dataclass
class Partner:
    """A partner whose CA rotated: its bundle endpoint, and what we have kept of it.

    ``kept`` is the last bundle that a process fetched: it has both CAs, as the endpoint had a
    certificate of the first one then. Now its certificate is of the second.
    """

    folder: Path
    first: Authority
    second: Authority
    bootstrap: Path
    settings: KeySettings
    publish: Callable[[bytes], None]

    def record(self) -> Path:
        """Return the only file of the folder."""
        [path] = self.folder.glob("[!.]*")
        return path

    def process(self) -> AbstractContextManager[KeyStore]:
        """Start a process that keeps keys in the folder, and wait for its first fetch."""
        return running_store(self.settings, KeyFolder(KeyCacheSettings(folder=str(self.folder))))

    def error_of_a_start(self) -> str:
        """Return why the first fetch of a new process failed, "" if it did not."""
        with self.process() as store:
            return store.status()[0].last_error


@pytest.fixture
def partner(tmp_path: Path) -> Iterator[Partner]:
    """A partner whose CA rotated after a process had kept its bundle."""
    first, second = Authority(tmp_path / "a", "first"), Authority(tmp_path / "b", "second")
    bootstrap = tmp_path / "bootstrap.json"
    bootstrap.write_bytes(bundle(authority_entry(first), spiffe_sequence=1))
    both = (authority_entry(first), authority_entry(second))
    with endpoint(bundle(*both, entry(OLD), spiffe_sequence=2), first.issue(ENDPOINT)) as server:
        named = {"trust_domain": DOMAIN, **spiffe_endpoint(server, bootstrap)}
        settings = KeySettings.model_validate({"spiffe_bundle": named, "cooldown": "1s"})

        def publish(document: bytes) -> None:
            server.serve(answer(document, content_type="application/json"))

        made = Partner(tmp_path / "keys", first, second, bootstrap, settings, publish)
        assert made.error_of_a_start() == ""
        server.use(second.issue(ENDPOINT))
        publish(bundle(authority_entry(second), entry(NEW), spiffe_sequence=3))
        yield made


def test_the_last_bundle_authenticates_the_endpoint(partner: Partner) -> None:
    """A new process believes the CAs of the bundle that was kept, not the older bootstrap file."""
    assert partner.error_of_a_start() == ""
    with partner.process() as store:
        keys = store.get(ISSUER)
        assert keys is not None
        assert set(keys.keys) == {"new"}


def test_without_what_was_kept(partner: Partner) -> None:
    """The bootstrap file alone knows the old CA only."""
    partner.record().unlink()

    assert "certificate is invalid" in partner.error_of_a_start()


def test_a_bundle_that_is_older_than_its_keys_may_be(partner: Partner) -> None:
    """Its keys are too old to be used; its CAs still authenticate the endpoint."""
    record = json.loads(partner.record().read_bytes())
    record["fetched_at"] = time.time() - 30 * 86400
    partner.record().write_text(json.dumps(record))
    with partner.process() as store:
        assert store.status()[0].last_error == ""
        keys = store.get(ISSUER)
        assert keys is not None
        assert not keys.is_kept


def test_a_newer_bootstrap_file_counts(partner: Partner) -> None:
    """Whom an operator withdraws, by another bootstrap file, is believed by no new process."""
    third = Authority(partner.folder.parent / "c", "third")
    partner.bootstrap.write_bytes(bundle(authority_entry(third), spiffe_sequence=9))
    with partner.process() as store:
        assert "certificate is invalid" in store.status()[0].last_error
        assert store.get(ISSUER) is None, "a stolen CA may have put these keys there"


def test_an_older_bootstrap_file_does_not(partner: Partner) -> None:
    """A file that a slow roll-out brings back, by its sequence number, changes nothing."""
    third = Authority(partner.folder.parent / "c", "third")
    partner.bootstrap.write_bytes(bundle(authority_entry(third), spiffe_sequence=2))

    assert partner.error_of_a_start() == ""


def test_a_bootstrap_file_that_says_nothing(partner: Partner) -> None:
    """Half a file withdraws nobody."""
    partner.bootstrap.write_bytes(b"{")

    assert partner.error_of_a_start() == ""


def test_a_newer_bootstrap_file_of_a_running_process(partner: Partner) -> None:
    """It counts at the next fetch: a partner that lost all of its CAs needs no restart of ours."""
    lost = Authority(partner.folder.parent / "c", "third")
    with partner.process() as store:
        partner.bootstrap.write_bytes(bundle(authority_entry(lost), spiffe_sequence=9))
        wait_until(lambda: _is_refused(store))
        partner.bootstrap.write_bytes(bundle(authority_entry(partner.second), spiffe_sequence=10))
        partner.publish(bundle(authority_entry(partner.second), entry(OLD), spiffe_sequence=11))
        wait_until(lambda: store.refresh(ISSUER, "old", PATIENCE_SECONDS))


def test_a_newer_bootstrap_file_that_was_taken_back_for_a_while(partner: Partner) -> None:
    """A file that came too early, and again later, withdraws the old CA the second time too."""
    before = partner.bootstrap.read_bytes()
    lost = Authority(partner.folder.parent / "c", "third")
    newer = bundle(authority_entry(lost), spiffe_sequence=9)
    with partner.process() as store:
        partner.bootstrap.write_bytes(newer)
        wait_until(lambda: _is_refused(store))
        partner.bootstrap.write_bytes(before)
        partner.publish(bundle(authority_entry(partner.second), entry(OLD), spiffe_sequence=4))
        wait_until(lambda: store.refresh(ISSUER, "old", PATIENCE_SECONDS))
        partner.bootstrap.write_bytes(newer)
        wait_until(lambda: _is_refused(store))


def _is_refused(store: KeyStore) -> bool:
    store.refresh(ISSUER, "nobody's", PATIENCE_SECONDS)
    return "certificate is invalid" in store.status()[0].last_error
