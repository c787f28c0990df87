"""Replicas behind a real Envoy that share a real store: when a revocation counts in all of them."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from itertools import count, cycle
from pathlib import Path
from typing import Any, Final, Self

import grpc
import msgspec

from authz._pb import ext_authz_pb2 as pb
from authz.adapters.store.engine import EngineStore
from authz.adapters.store.settings import StoreSettings
from authz.core.revocations import Revocation
from lab.config_builder import LAB, ConfigBuilder
from lab.dpop import DpopClient
from lab.mesh import AUDIENCE, ISSUER, TRAVEL, TRUST_DOMAIN, Mesh
from support.redis_server import RedisServer
from support.slow_proxy import SlowProxy
from support.world import (
    BALANCE,
    PATIENCE_SECONDS,
    READ,
    check_request,
    reason_of,
    wait_until,
)

SERVERS: Final = 3
WORKERS: Final = 2
# Of the store, for a check. A busy machine is given longer than a proxy would wait.
STORE_TIMEOUT: Final = "900ms"
ORIGIN: Final = AUDIENCE.removesuffix("/finance")
_CHECK: Final = "/envoy.service.auth.v3.Authorization/Check"
_LOAD_RATE: Final = 100  # requests a second through Envoy, while revocations are measured
_SENDERS: Final = 8


class Replica:
    """A worker of a replica, asked directly as Envoy asks it."""

    def __init__(self, socket: Path) -> None:
        """Open a channel to its socket."""
        self.channel = grpc.insecure_channel(f"unix:{socket}")
        self._call = self.channel.unary_unary(_CHECK, bytes, bytes)

    def answer(self, request: bytes) -> pb.CheckResponse:
        """Return its answer to a request."""
        answer = self._call(request, timeout=PATIENCE_SECONDS, wait_for_ready=True)
        return pb.CheckResponse.FromString(answer)

    def ask(self, request: bytes) -> str:
        """Return "allow", or the reason of its refusal."""
        return reason_of(self.answer(request))


@dataclass
class Load:
    """Requests through Envoy while other things happen.

    Attributes:
        statuses: how often each HTTP status came back.
    """

    statuses: Counter[int] = field(default_factory=Counter)


class Fleet(AbstractContextManager["Fleet"]):
    """All workers of a mesh's servers, asked directly.

    Attributes:
        mesh: whose servers they are of.
        workers: all of them.
    """

    def __init__(self, mesh: Mesh) -> None:
        """Open a channel to each."""
        self.mesh = mesh
        sockets = [socket for server in mesh.servers for socket in server.sockets]
        self.workers = [Replica(socket) for socket in sockets]
        self._svid = mesh.authority.issue(TRAVEL)
        self._numbers = count()

    def __exit__(self, *_: object) -> None:
        """Close the channels."""
        for worker in self.workers:
            worker.channel.close()

    def request(self, token: str, scheme: str = "Bearer", **headers: str) -> bytes:
        """Return the bytes of a check for the balance, with an id of its own."""
        given = [("authorization", f"{scheme} {token}"), *headers.items()]
        message = check_request(self._svid, given)
        message.attributes.request.http.id = f"request-{next(self._numbers)}"
        return message.SerializeToString()

    def token(self, subject: str = "alice", **claims: Any) -> str:
        """Return a token of a principal that every replica allows."""
        return self.mesh.issuer.token(TRAVEL, subject, READ, groups=["readers"], **claims)

    def proven(self, client: DpopClient) -> Callable[[], bytes]:
        """Return what makes requests that all have the same new proof, each with its own id."""
        token = self.token(cnf=client.confirmation)
        proof = client.proof(token, "GET", f"{ORIGIN}{BALANCE}")
        return lambda: self.request(token, "DPoP", dpop=proof)

    def pass_once(self, request: Callable[[], bytes], times: int) -> Counter[str]:
        """Ask so often with requests of one proof, all workers at once, and count the answers."""
        workers = cycle(self.workers)
        with ThreadPoolExecutor(_SENDERS) as pool:
            asked = [pool.submit(next(workers).ask, request()) for _ in range(times)]
            return Counter(call.result() for call in asked)

    def wait_until_one_passes(self) -> None:
        """Wait until a proof passes: those that are older than the store's memory do not."""
        wait_until(lambda: self.pass_once(self.proven(DpopClient()), 1) == {"allow": 1})

    def answers(self, request: bytes) -> set[str]:
        """Return what the workers answer to a request."""
        return {worker.ask(request) for worker in self.workers}


class Replicas(Fleet):
    """The mesh, its store, and a proxy between them that can be slow, or cut them off.

    Attributes:
        redis: the real store.
        between: the proxy through which all replicas reach it.
        store: a client of the store that is not behind the proxy, as an operator's.
    """

    def __init__(
        self, folder: Path, changes: ConfigBuilder = LAB, *, servers: int = SERVERS
    ) -> None:
        """Start all of it; ``changes`` are of the replicas' config."""
        with ExitStack() as opened:
            self.redis = opened.enter_context(RedisServer())
            self.between = opened.enter_context(SlowProxy(self.redis.port))
            mesh = opened.enter_context(
                Mesh(folder, servers, WORKERS, changes=shared(self.between.address).and_(changes))
            )
            settings = StoreSettings(
                url=f"redis://{self.redis.address}", insecure=True, timeout=2.0
            )
            self.store = opened.enter_context(closing(EngineStore(settings, TRUST_DOMAIN)))
            self.store.start()
            super().__init__(mesh)
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        """Wait until a proof passes."""
        self.wait_until_one_passes()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop all of it."""
        super().__exit__()
        self._opened.close()

    def revoke(self, entry: Revocation) -> None:
        """Write a revocation into the store, as ``authz revoke`` does."""
        self.store.add({entry.id: msgspec.json.encode(entry)}, "a test", PATIENCE_SECONDS)

    def seconds_to_revoke(self, subject: str) -> float:
        """Revoke a principal, and return the seconds until no worker allows it any more.

        Every worker remembers its allow when it begins.
        """
        request = self.request(self.token(subject))
        for worker in self.workers:
            for _ in range(2):
                assert worker.ask(request) == "allow"
        begun = time.monotonic()
        self.revoke(Revocation(issuer=ISSUER, subject=subject))
        for worker in self.workers:
            while (reason := worker.ask(request)) == "allow":
                assert time.monotonic() < begun + PATIENCE_SECONDS
                time.sleep(0.002)
            assert reason == "token_revoked"
        return time.monotonic() - begun

    def remembered_seconds(self, seconds: float) -> list[float]:
        """Return what remembered checks take, asked of one worker after the other for a while."""
        request, found = self.request(self.token()), []
        for worker in self.workers:
            worker.ask(request)
        end = time.monotonic() + seconds
        for worker in cycle(self.workers):
            begun = time.perf_counter()
            answer = worker.answer(request)
            found.append(time.perf_counter() - begun)
            assert answer.dynamic_metadata["decision"] == "allow"
            if time.monotonic() >= end:
                return found
        raise AssertionError

    @contextmanager
    def load(self) -> Iterator[Load]:
        """Send requests of allowed principals through Envoy, at a steady rate, until the end."""
        load, stopping = Load(), threading.Event()

        def send(number: int) -> None:
            client = self.mesh.agent(TRAVEL)
            while not stopping.wait(_SENDERS / _LOAD_RATE):
                token = self.token(f"loaded-{number}")
                reply = client.request("GET", BALANCE, [("authorization", f"Bearer {token}")])
                load.statuses[reply.status] += 1

        with ThreadPoolExecutor(_SENDERS) as pool:
            sending = [pool.submit(send, number) for number in range(_SENDERS)]
            try:
                yield load
            finally:
                stopping.set()
        for call in sending:
            call.result()


def shared(address: str) -> ConfigBuilder:
    """Return the changes that make servers share the store at an address."""
    lines = f"{{url: 'redis://{address}', insecure: true, timeout: {STORE_TIMEOUT}}}"
    return LAB.with_yaml(("store",), lines)
