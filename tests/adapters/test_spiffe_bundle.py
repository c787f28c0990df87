"""Keys from SPIFFE bundles: files, endpoints of both profiles, the Workload API."""

import json
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import grpc
import pytest
from pydantic import ValidationError

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
from support.workload_api import WorkloadApi
from support.world import PATIENCE_SECONDS as SECONDS
from support.world import wait_until as until


def running(**changes: Any) -> AbstractContextManager[KeyStore]:
    """A store with that one source, after its first fetch."""
    outer = {name: changes.pop(name) for name in ("ca_file",) if name in changes}
    settings = KeySettings.model_validate_json(
        json.dumps(
            {"spiffe_bundle": {"trust_domain": DOMAIN, **changes}, "cooldown": "1s", **outer}
        )
    )
    return running_store(settings)


def is_refused(store: KeyStore, key_id: str, why: str) -> bool:
    """Whether a fetch for a key failed so; within the cooldown there is none."""
    assert not store.refresh(ISSUER, key_id, SECONDS)
    return why in store.status()[0].last_error


def known(store: KeyStore) -> set[str] | None:
    """The kids that are known, None before there was a bundle."""
    keys = store.get(ISSUER)
    return None if keys is None else set(keys.keys)


BUNDLES: dict[str, tuple[bytes, set[str] | None, str]] = {
    "one": (bundle(entry(ec_key("a"))), {"a"}, ""),
    "with an authority": (bundle(entry(ec_key("a")), {"use": "x509-svid", "kty": "EC"}), {"a"}, ""),
    "of other uses": (bundle(entry(ec_key("a")), entry(ec_key("b"), use="wit-svid")), {"a"}, ""),
    "use in capitals": (bundle(entry(ec_key("a")), entry(ec_key("b"), use="JWT-SVID")), {"a"}, ""),
    "no use": (bundle(entry(ec_key("a")), entry(ec_key("b"), use=None)), {"a"}, ""),
    "use sig": (bundle(entry(ec_key("a"), use="sig")), set(), ""),
    "all revoked": (bundle(), set(), ""),
    "no kid": (bundle(entry(ec_key("a")), entry(ec_key("b"), kid=None)), {"a"}, ""),
    "doubled kid": (bundle(entry(ec_key("a")), entry(ec_key("a"))), None, "more than one key"),
    "symmetric": (bundle(entry(ec_key("a")), {"kty": "oct", "k": "AA", "kid": "b",
                                              "use": "jwt-svid"}), {"a"}, ""),
    "none usable": (bundle(entry(ec_key("a"), alg="ES512")), None, "can be used"),
    "no keys": (b"{}", None, "no list named keys"),
    "keys no list": (b'{"keys":{}}', None, "no list named keys"),
    "garbage": (b"{", None, "not JSON"),
    "sequence of text": (bundle(spiffe_sequence="1"), None, "not a whole number"),
    "a map": (
        json.dumps({"trust_domains": {DOMAIN: {"keys": [entry(ec_key("a"))]}}}).encode(),
        {"a"},
        "",
    ),
    "a map without us": (b'{"trust_domains":{"other.example":{"keys":[]}}}', None, "not a SPIFFE"),
    "a doubled domain": (
        b'{"trust_domains":{"corp.example":{"keys":[]},"corp.example":{"keys":[]}}}',
        None,
        "occurs twice",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BUNDLES)
def test_bundle(tmp_path: Path, name: str) -> None:
    """Of a bundle the JWT keys count, each use apart; an empty one says that all is revoked."""
    document, kids, error = BUNDLES[name]
    path = tmp_path / "bundle.json"
    path.write_bytes(document)
    with running(file=str(path)) as store:
        assert known(store) == kids
        assert error in store.status()[0].last_error
        assert store.status()[0].source == str(path)


def test_revocation_and_sequence(tmp_path: Path) -> None:
    """A newer bundle counts at once, an older one never, and an empty one takes all keys away."""
    path = tmp_path / "bundle.json"
    old, new = entry(ec_key("old")), entry(ec_key("new"))
    path.write_bytes(bundle(old, spiffe_sequence=7))
    with running(file=str(path)) as store:
        path.write_bytes(bundle(old, new, spiffe_sequence=8))
        until(lambda: store.refresh(ISSUER, "new", SECONDS))
        path.write_bytes(bundle(old, spiffe_sequence=7))
        until(lambda: "went back" in store.status()[0].last_error)
        assert known(store) == {"old", "new"}
        path.write_bytes(bundle(spiffe_sequence=9))
        until(lambda: known(store) == set())
        assert store.ready()


def test_https_web(tmp_path: Path) -> None:
    """An endpoint that the web's CAs know; its refresh hint makes fetches more frequent."""
    authority = Authority(tmp_path)
    document = bundle(entry(ec_key("a")), spiffe_refresh_hint=60)
    begun = time.time()
    with (
        endpoint(document, authority.issue(dns=("localhost",))) as server,
        running(endpoint=server.url, ca_file=str(authority.path)) as store,
    ):
        until(lambda: store.status()[0].next_refresh)
        due = store.status()[0].next_refresh or 0.0

        assert known(store) == {"a"}
        assert due - begun > 54
        assert due - time.time() < 66


def test_https_spiffe(tmp_path: Path) -> None:
    """An endpoint is known by its SVID, under its own trust domain's authorities only."""
    authority, other = Authority(tmp_path / "a"), Authority(tmp_path / "b")
    bootstrap = tmp_path / "bootstrap.json"
    bootstrap.write_bytes(bundle(authority_entry(authority)))
    document = bundle(authority_entry(authority), entry(ec_key("a")))
    for svid, error in (
        (authority.issue(ENDPOINT), ""),
        (authority.issue(f"spiffe://{DOMAIN}/else"), "another SPIFFE ID"),
        (authority.issue(ENDPOINT, f"spiffe://{DOMAIN}/else"), "not exactly one URI"),
        (authority.issue(dns=("localhost",)), "not exactly one URI"),
        (other.issue(ENDPOINT), "certificate is invalid"),
        (authority.issue(ENDPOINT, starts_in_seconds=-99, lifetime_seconds=9), "is invalid"),
    ):
        with (
            endpoint(document, svid) as server,
            running(**spiffe_endpoint(server, bootstrap)) as store,
        ):
            assert error in store.status()[0].last_error
            assert known(store) == (None if error else {"a"})


def test_the_endpoints_own_authorities_rotate(tmp_path: Path) -> None:
    """After the first fetch the bundle itself says whom to trust, and not the bootstrap file."""
    first, second = Authority(tmp_path / "a", "first"), Authority(tmp_path / "b", "second")
    bootstrap = tmp_path / "bootstrap.json"
    bootstrap.write_bytes(bundle(authority_entry(first)))
    both = bundle(authority_entry(first), authority_entry(second), entry(ec_key("a")))
    with (
        endpoint(both, first.issue(ENDPOINT)) as server,
        running(**spiffe_endpoint(server, bootstrap)) as store,
    ):
        assert known(store) == {"a"}
        late = bundle(authority_entry(second), entry(ec_key("b")))
        server.use(second.issue(ENDPOINT))
        server.serve(answer(late, content_type="application/json"))
        until(lambda: store.refresh(ISSUER, "b", SECONDS))
        server.use(first.issue(ENDPOINT))
        until(lambda: is_refused(store, "c", "is invalid"))


def test_workload_api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys of our trust domain by the Workload API; an agent that fails or ends takes none away."""
    monkeypatch.setattr("authz.adapters.agent_stream.RETRY_SECONDS", 0.2)
    api = WorkloadApi(tmp_path / "api.sock")
    api.bundles = {
        f"spiffe://{DOMAIN}": bundle(entry(ec_key("a"))),
        "spiffe://other.example": bundle(entry(ec_key("b"))),
    }
    try:
        with running(workload_api=api.address) as store:
            assert known(store) == {"a"}
            api.bundles = {f"spiffe://{DOMAIN}": bundle(entry(ec_key("c")))}
            api.push()
            until(lambda: store.refresh(ISSUER, "c", SECONDS))
            assert known(store) == {"c"}
            for status in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.INVALID_ARGUMENT):
                failures = store.status()[0].failures
                api.status = status
                api.cut()
                until(
                    lambda before=failures: (  # type: ignore[misc]
                        is_refused(store, "d", "Workload API")
                        and store.status()[0].failures > before
                    )
                )
                assert known(store) == {"c"}
            api.status = grpc.StatusCode.OK
            api.bundles = {"spiffe://other.example": bundle(entry(ec_key("b")))}
            until(lambda: is_refused(store, "d", "no bundle"))
            api.bundles = {f"spiffe://{DOMAIN}": bundle(entry(ec_key("d")))}
            until(lambda: store.refresh(ISSUER, "d", SECONDS))
    finally:
        api.close()


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"file": "a", "workload_api": "unix:/a"},
        {"endpoint": "http://a.example/"},
        {"endpoint": "https://a.example/", "profile": "https_spiffe"},
        {"endpoint": "https://a.example/", "endpoint_spiffe_id": ENDPOINT, "bootstrap": "a"},
        {"file": "a", "profile": "https_spiffe", "endpoint_spiffe_id": ENDPOINT, "bootstrap": "a"},
        {"workload_api": "tcp://1.2.3.4:5"},
        {"file": "a", "trust_domain": "CORP"},
    ],
)
def test_settings_that_can_not_be_meant(values: dict[str, Any]) -> None:
    """One source, and of an endpoint all that its profile needs."""
    given = {"spiffe_bundle": {"trust_domain": DOMAIN, **values}}
    with pytest.raises(ValidationError):
        KeySettings.model_validate_json(json.dumps(given))
