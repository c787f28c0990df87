"""The key sources, each held to what every source must do."""

import json
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import grpc
import pytest

from authz.core.jose import KeySettings
from lab.ca import Authority
from lab.issuer import SigningKey
from support.conformance.key_source import (
    NEW,
    OLD,
    KeySourceConformance,
    Publisher,
    RemoteKeySourceConformance,
    RemotePublisher,
    asked_by_many,
    known,
    running,
    store_of,
)
from support.jwks_server import ScriptedServer, answer, demanding, held, key_set
from support.workload_api import WorkloadApi
from support.world import PATIENCE_SECONDS, wait_until

DOMAIN = "corp.example"
FIRST_CALLS = 2  # for one answer, and to follow the agent from then on
_OPENID = "/.well-known/openid-configuration"


def bundle(*keys: SigningKey) -> bytes:
    """Return a SPIFFE bundle with these keys."""
    return json.dumps({"keys": [{**key.jwk(), "use": "jwt-svid"} for key in keys]}).encode()


class Url:
    """A JWK Set behind a URL."""

    issuer = "https://as.example"

    def __init__(self, server: ScriptedServer) -> None:
        """Take the server."""
        self.server = server
        self.settings = KeySettings(jwks_uri=server.url, insecure=True)
        self._document = b""

    def document(self, *keys: SigningKey) -> bytes:
        """Return a JWK Set."""
        return key_set(*keys)

    def publish(self, document: bytes) -> None:
        """Serve it."""
        self._document = document
        self.server.serve(answer(document))

    def vanish(self) -> None:
        """Serve an error."""
        self.server.serve(answer(b"", 503))

    @property
    def asked(self) -> int:
        """Return the requests for the keys themselves."""
        return sum(path == "/jwks" for path, _ in self.server.requests)

    def hold(self, go: threading.Event) -> None:
        """Serve it later."""
        self.server.serve(held(go, answer(self._document)))


class Discovered(Url):
    """A JWK Set that the issuer's metadata names."""

    def __init__(self, server: ScriptedServer) -> None:
        """Take the server, which is the issuer."""
        super().__init__(server)
        self.issuer = server.base
        self.settings = KeySettings(discovery=True, insecure=True)
        metadata = {"issuer": server.base, "jwks_uri": server.url}
        server.paths[_OPENID] = answer(json.dumps(metadata).encode())


class BundleEndpoint(Url):
    """A SPIFFE bundle endpoint, of the profile https_web."""

    def __init__(self, server: ScriptedServer, authority: Authority) -> None:
        """Take the server, and who vouches for it."""
        super().__init__(server)
        self.settings = KeySettings.model_validate(
            {
                "spiffe_bundle": {"trust_domain": DOMAIN, "endpoint": server.url},
                "ca_file": str(authority.path),
            }
        )

    def document(self, *keys: SigningKey) -> bytes:
        """Return a bundle."""
        return bundle(*keys)


class Guarded(Url):
    """A JWK Set that named metadata name, for clients that show a token and a certificate."""

    def __init__(self, server: ScriptedServer, authority: Authority, token: Path) -> None:
        """Take the server, who vouches for it and for clients, and the file of the token."""
        super().__init__(server)
        svid = authority.issue()
        token.write_text("t0ken")
        tls = {"certificate": str(svid.certificate_path), "private_key": str(svid.key_path)}
        self.settings = KeySettings.model_validate(
            {
                "discovery_url": f"{server.base}/metadata",
                "ca_file": str(authority.path),
                "token_file": str(token),
                "tls": tls,
            }
        )
        metadata = {"issuer": self.issuer, "jwks_uri": server.url}
        server.paths["/metadata"] = demanding("t0ken", answer(json.dumps(metadata).encode()))

    def publish(self, document: bytes) -> None:
        """Serve it to who has the token."""
        self._document = document
        self.server.serve(demanding("t0ken", answer(document)))


class File:
    """A file with a JWK Set."""

    issuer = "https://as.example"

    def __init__(self, path: Path) -> None:
        """Take the path."""
        self._path = path
        self.settings = KeySettings(file=str(path))

    def document(self, *keys: SigningKey) -> bytes:
        """Return a JWK Set."""
        return key_set(*keys)

    def publish(self, document: bytes) -> None:
        """Put a file in its place."""
        fresh = self._path.with_suffix(".new")
        fresh.write_bytes(document)
        fresh.rename(self._path)

    def vanish(self) -> None:
        """Remove it."""
        self._path.unlink(missing_ok=True)


class BundleFile(File):
    """A file with a SPIFFE bundle."""

    def __init__(self, path: Path) -> None:
        """Take the path."""
        super().__init__(path)
        named = {"trust_domain": DOMAIN, "file": str(path)}
        self.settings = KeySettings.model_validate({"spiffe_bundle": named})

    def document(self, *keys: SigningKey) -> bytes:
        """Return a bundle."""
        return bundle(*keys)


class Agent:
    """The Workload API of an agent on the machine."""

    issuer = "https://spire.corp.example"

    def __init__(self, api: WorkloadApi) -> None:
        """Take the agent."""
        self._api = api
        named = {"trust_domain": DOMAIN, "workload_api": api.address}
        self.settings = KeySettings.model_validate({"spiffe_bundle": named})

    def document(self, *keys: SigningKey) -> bytes:
        """Return a bundle."""
        return bundle(*keys)

    def publish(self, document: bytes) -> None:
        """Give it out."""
        self._api.go = threading.Event()
        self._api.go.set()
        self._api.status = grpc.StatusCode.OK
        self._api.bundles = {f"spiffe://{DOMAIN}": document}
        self._api.push()

    def vanish(self) -> None:
        """Give nothing out, and end what is open."""
        self._api.status = grpc.StatusCode.PERMISSION_DENIED
        self._api.cut()

    def fail(self, status: grpc.StatusCode) -> None:
        """Answer with a status, and end what is open."""
        self._api.status = status
        self._api.cut()

    def end_streams(self) -> None:
        """End what is open."""
        self._api.cut()

    @property
    def asked(self) -> int:
        """Return the calls."""
        return self._api.calls

    def hold(self, go: threading.Event) -> None:
        """Answer later."""
        self._api.go = go


class HttpKeySource(RemoteKeySourceConformance):
    """The further clauses of a source behind a URL."""

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_a_redirect(self, remote: Url, status: int) -> None:
        """It is not followed, wherever it leads, and is a failure."""
        with running(store_of(remote, refresh=0.05), remote) as store:
            remote.server.paths["/else"] = answer(remote.document(NEW))
            elsewhere = {"location": f"{remote.server.base}/else"}
            remote.server.serve(answer(b"", status, headers=elsewhere))
            wait_until(lambda: store.status()[0].failures)

            assert known(store, remote) == {"old"}
            assert "/else" not in dict(remote.server.requests)


class TestUrl(HttpKeySource):
    """A URL."""

    @contextmanager
    def publisher(self, folder: Path) -> Iterator[RemotePublisher]:
        """Return one."""
        del folder
        server = ScriptedServer()
        try:
            yield Url(server)
        finally:
            server.close()


class TestDiscovery(HttpKeySource):
    """Discovery."""

    @contextmanager
    def publisher(self, folder: Path) -> Iterator[RemotePublisher]:
        """Return one."""
        del folder
        server = ScriptedServer()
        try:
            yield Discovered(server)
        finally:
            server.close()


class TestBundleEndpoint(HttpKeySource):
    """A SPIFFE bundle endpoint."""

    @contextmanager
    def publisher(self, folder: Path) -> Iterator[RemotePublisher]:
        """Return one."""
        authority = Authority(folder)
        server = ScriptedServer(tls=authority.issue(dns=("localhost",)))
        try:
            yield BundleEndpoint(server, authority)
        finally:
            server.close()


class TestGuarded(HttpKeySource):
    """Keys that are not public."""

    @contextmanager
    def publisher(self, folder: Path) -> Iterator[RemotePublisher]:
        """Return one."""
        authority = Authority(folder)
        server = ScriptedServer(tls=authority.issue(dns=("localhost",)), client_ca=authority.path)
        try:
            yield Guarded(server, authority, folder / "token")
        finally:
            server.close()


class TestFile(KeySourceConformance):
    """A file."""

    def publisher(self, folder: Path) -> AbstractContextManager[Publisher]:
        """Return one."""
        return nullcontext(File(folder / "jwks.json"))


class TestBundleFile(KeySourceConformance):
    """A file with a SPIFFE bundle."""

    def publisher(self, folder: Path) -> AbstractContextManager[Publisher]:
        """Return one."""
        return nullcontext(BundleFile(folder / "bundle.json"))


class TestWorkloadApi(KeySourceConformance):
    """The SPIFFE Workload API, which pushes: its clauses of a remote source are its own."""

    foreign_reader = "the spiffe library reads what the agent says"

    @pytest.fixture(autouse=True)
    def _soon(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Look at the agent often, and ask one that fails again soon."""
        monkeypatch.setattr("authz.core.jose.settings.WORKLOAD_API_POLL_SECONDS", 0.05)
        monkeypatch.setattr("authz.adapters.agent_stream.RETRY_SECONDS", 0.2)

    @contextmanager
    def publisher(self, folder: Path) -> Iterator[Agent]:
        """Return one."""
        api = WorkloadApi(folder / "api.sock")
        try:
            yield Agent(api)
        finally:
            api.go.set()
            api.close()

    @pytest.fixture
    def agent(self, tmp_path: Path) -> Iterator[Agent]:
        """An agent with the old key."""
        with self.publisher(tmp_path) as agent:
            agent.publish(agent.document(OLD))
            yield agent

    def test_many_ask_for_a_new_key(self, published: Publisher) -> None:
        """All who miss a key have it once the agent has pushed it."""
        with running(store_of(published), published) as store:
            published.publish(published.document(OLD, NEW))
            wait_until(lambda: all(asked_by_many(store, published)))

    def test_a_new_key_costs_the_agent_nothing(self, agent: Agent) -> None:
        """A key that the agent has pushed is known, and nobody has asked for it."""
        with running(store_of(agent), agent) as store:
            wait_until(lambda: agent.asked == FIRST_CALLS)
            asked = agent.asked
            agent.publish(agent.document(OLD, NEW))
            wait_until(lambda: store.refresh(agent.issuer, "new", PATIENCE_SECONDS))

            assert agent.asked == asked

    def test_a_flood_of_unknown_keys(self, agent: Agent) -> None:
        """Any number of keys that nobody has cause no call at all while the agent is there."""
        with running(store_of(agent), agent) as store:
            wait_until(lambda: agent.asked == FIRST_CALLS)
            asked = agent.asked
            for count in range(2000):
                assert not store.refresh(agent.issuer, f"never-{count}", PATIENCE_SECONDS)

            assert agent.asked == asked

    def test_a_flood_while_the_agent_fails(
        self, agent: Agent, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A failing agent is left alone between two tries, whatever tokens come; its keys stay."""
        with running(store_of(agent), agent) as store:
            monkeypatch.setattr("authz.adapters.agent_stream.RETRY_SECONDS", 3600.0)
            agent.vanish()
            asked = agent.asked
            for count in range(200):
                assert not store.refresh(agent.issuer, f"never-{count}", PATIENCE_SECONDS)

            assert agent.asked <= asked + 1
            assert known(store, agent) == {"old"}

    def test_a_key_is_withdrawn(self, agent: Agent) -> None:
        """A pushed revocation takes effect although nobody asks for a key."""
        with running(store_of(agent), agent) as store:
            agent.publish(agent.document(NEW))
            wait_until(lambda: known(store, agent) == {"new"})

    def test_a_stream_that_ends(self, agent: Agent) -> None:
        """It is opened anew, and pushes again."""
        with running(store_of(agent), agent) as store:
            agent.end_streams()
            agent.publish(agent.document(OLD, NEW))
            wait_until(lambda: known(store, agent) == {"old", "new"})
            agent.publish(agent.document(NEW))
            wait_until(lambda: known(store, agent) == {"new"})

    def test_causes_are_told_once_each(
        self, agent: Agent, caplog: pytest.LogCaptureFixture
    ) -> None:
        """An outage that changes its cause is told again, and one that stays is not."""
        causes = {
            grpc.StatusCode.PERMISSION_DENIED: "has no identity for this process",
            grpc.StatusCode.RESOURCE_EXHAUSTED: "has too much to do",
        }
        with running(store_of(agent, refresh=0.05), agent) as store:
            for status in (*causes, *causes):
                failures = store.status()[0].failures
                agent.fail(status)
                wait_until(
                    lambda words=causes[status], before=failures: (  # type: ignore[misc]
                        words in store.status()[0].last_error
                        and store.status()[0].failures > before + 2
                    )
                )

        assert [caplog.text.count(words) for words in causes.values()] == [1, 1]

    def test_an_agent_that_hangs(self, agent: Agent) -> None:
        """An open stream that says nothing is no answer: the agent is asked, and its keys age."""
        with running(store_of(agent, refresh=0.05, timeout=0.3), agent) as store:
            agent.hold(go := threading.Event())
            agent.end_streams()
            wait_until(lambda: store.status()[0].failures)

            assert known(store, agent) == {"old"}
            go.set()
