"""What may be used once, over replicas: real servers' checks, and a real Redis that they share."""

import json
import math
import secrets
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from prometheus_client import generate_latest

from authz._pb import ext_authz_pb2 as pb
from authz.adapters import nonce_secret, single_use
from authz.adapters.budgets import Spender
from authz.adapters.replay_settings import ReplaySettings
from authz.adapters.single_use import SingleUses
from authz.core.decision import Allow
from authz.core.reason import Denied
from authz.core.revocation_table import Revocations
from authz.core.revocations import Revocation
from authz.core.single_use import SingleUse
from authz.core.spiffe.spiffe_id import SpiffeId
from authz.edge.bulkhead import Bulkhead
from authz.edge.clock import Clock
from authz.edge.consuming import Consumption
from authz.edge.envoy.reader import read_check
from authz.edge.waits import Waits
from lab.config_builder import AT_ISSUER, LAB, ConfigBuilder
from lab.dpop import DpopClient
from lab.mesh import TRAVEL, sample_of
from support.child import with_support
from support.redis_server import RedisServer
from support.slow_proxy import SlowProxy
from support.stores import aged, opened_store
from support.world import (
    BALANCE,
    HOST,
    PATIENCE_SECONDS,
    World,
    check_request,
    header_of,
    reason_of,
    wait_until,
)

URI: Final = f"https://{HOST}{BALANCE}"
# Nothing here reads the revocations in the store, which a server would wait for.
ALONE: Final = LAB.with_(("revocations",), {"when_away": "serve"})
OTHER: Final = "spiffe://corp.example/agents/other"
PROCESSES, THREADS, REQUESTS = 3, 4, 500
# It sends its part of the requests as soon as it is told them, and counts the reasons.
REPLICA: Final = """
import json, sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from authz._pb import ext_authz_pb2 as pb
from authz.config import load_text
from authz.edge import methods
from authz.edge.envoy import Authorization
from authz.wiring.parts import open_parts
from support.world import PATIENCE_SECONDS, reason_of, wait_until

config, threads = Path(sys.argv[1]), int(sys.argv[2])
with open_parts(load_text(config.read_bytes(), str(config))) as parts:
    parts.start()
    wait_until(lambda: all(source.successes for source in parts.keys.status()))
    wait_until(lambda: not parts.shared.store.status().is_away)
    authorization = Authorization(parts.service)
    def ask(text):
        answer = methods.answer(authorization, bytes.fromhex(text), lambda: PATIENCE_SECONDS)
        return reason_of(pb.CheckResponse.FromString(answer))
    print("ready", flush=True)
    messages = json.loads(sys.stdin.readline())
    with ThreadPoolExecutor(threads) as pool:
        print(json.dumps(Counter(pool.map(ask, messages))), flush=True)
"""


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    """A store that no test stops."""
    with RedisServer() as server:
        yield server


def sharing(
    server: RedisServer, namespace: str, timeout: str = "5s", **replay: str
) -> ConfigBuilder:
    """The lab's config with this store."""
    store = {"url": server.url, "insecure": True, "namespace": namespace, "timeout": timeout}
    dpop = {"clock_skew": "1s", "max_age": "10m"}
    return (
        ALONE.with_(("store",), store).with_(("replay",), replay).with_(("token",), {"dpop": dpop})
    )


def uses(world: World, result: str) -> float:
    """How many uses of proofs had this result."""
    text = generate_latest(world.registry).decode()
    return sample_of(text, f'authz_single_uses_total{{kind="proof",result="{result}"}}')


class Prover:
    """A client of a world, with a key, and a token that is bound to it."""

    def __init__(self, world: World) -> None:
        """Get a token."""
        self.world, self.client = world, DpopClient()
        self.token = world.token(cnf=self.client.confirmation)

    def proof(self, **claims: Any) -> str:
        """Return a new proof."""
        return self.client.proof(self.token, "GET", URI, **claims)

    def message(self, proof: str, number: int = 0) -> pb.CheckRequest:
        """Return a request with a proof, by its number."""
        headers = [("authorization", f"DPoP {self.token}"), ("dpop", proof)]
        message = check_request(self.world.svid, headers)
        message.attributes.request.http.id = f"{number}"
        message.attributes.request.time.seconds = 1000
        return message

    def ask(self, proof: str, number: int = 0, world: World | None = None) -> str:
        """Return what becomes of a request."""
        return reason_of((world or self.world).check(self.message(proof, number)))


def fresh(prover: Prover) -> Callable[[], bool]:
    """Return a condition: a new proof passes."""
    return lambda: prover.ask(prover.proof()) == "allow"


def test_one_proof_for_all_processes_and_threads(redis: RedisServer, tmp_path: Path) -> None:
    """Sent 500 times at once, as so many requests, to three processes, a proof passes once."""
    with ExitStack() as opened:
        world = opened.enter_context(World(tmp_path, sharing(redis, "processes")))
        aged(redis, "processes")
        prover = Prover(world)
        replicas = []
        for number in range(PROCESSES):
            config = tmp_path / f"replica-{number}.yaml"
            audit = str(tmp_path / f"audit-{number}.jsonl")
            config.write_text(world.config_text.replace(str(world.audit_path), audit))
            replicas.append(
                opened.enter_context(
                    subprocess.Popen(
                        [sys.executable, "-c", REPLICA, str(config), str(THREADS)],
                        env=with_support(),
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        text=True,
                    )
                )
            )
        assert [heard(replica) for replica in replicas] == ["ready"] * PROCESSES
        proof = prover.proof()
        sent = [
            prover.message(proof, number).SerializeToString().hex() for number in range(REQUESTS)
        ]
        for number, replica in enumerate(replicas):
            told(replica, json.dumps(sent[number::PROCESSES]))
        counts = sum((Counter(json.loads(heard(replica))) for replica in replicas), Counter())

    assert counts == {"allow": 1, "dpop_proof": REQUESTS - 1}


def told(process: "subprocess.Popen[str]", line: str) -> None:
    """Write a line to a process."""
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def heard(process: "subprocess.Popen[str]") -> str:
    """Read a line of a process."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture
def replicas(redis: RedisServer, tmp_path: Path) -> Iterator[tuple[World, World]]:
    """Two replicas that share a store, and trust one issuer."""
    changes = sharing(redis, "replicas").with_((*AT_ISSUER, "one_time"), True)
    with World(tmp_path, changes) as first, ExitStack() as opened:
        (tmp_path / "b").mkdir()
        jwks = {"jwks_uri": f"{first.jwks.url}/jwks", "insecure": True}
        second = opened.enter_context(
            World(tmp_path / "b", changes.with_((*AT_ISSUER, "keys"), jwks))
        )
        aged(redis, "replicas")
        yield first, second


def test_no_proxy_may_cache_a_use(replicas: tuple[World, World]) -> None:
    """The metadata give an allow by a proof no time: the proof must be used here each time."""
    world, _ = replicas
    prover = Prover(world)
    answer = world.check(prover.message(prover.proof()))
    assert reason_of(answer) == "allow"
    assert answer.dynamic_metadata["valid_until"] == 0.0


def test_replicas_share_what_was_used(replicas: tuple[World, World]) -> None:
    """A one-time token and its proof pass at one replica; a retry passes at the other too."""
    first, second = replicas
    prover = Prover(first)
    proof = prover.proof()

    assert prover.ask(proof) == "allow"
    assert prover.ask(proof, 0, second) == "allow"  # the proxy asks again, another replica
    assert prover.ask(proof, 1, second) == "dpop_proof"
    assert prover.ask(prover.proof(), 1, second) == "token_used"
    token = first.token()
    assert [reason_of(world.ask(token)) for world in (second, first)] == ["allow", "token_used"]


def test_a_thread_that_must_not_wait_gets_no_decision(replicas: tuple[World, World]) -> None:
    """The loop's thread asks no shared store, and marks nothing; without a proof it decides."""
    world, _ = replicas
    service, prover = world.service, Prover(world)
    message = prover.message(prover.proof())
    snapshot = service.snapshot
    check = read_check(snapshot.inputs, message)
    begun = service.clock.moment()
    decided = [
        service.decide(snapshot, check, begun, lambda: math.inf, "0" * 32, may_wait=may_wait)
        for may_wait in (False, True)
    ]

    assert decided[0] is None
    assert decided[1] is not None
    assert decided[1].rendered.reason is None
    unproven = read_check(snapshot.inputs, check_request(world.svid, []))
    assert service.decide(snapshot, unproven, begun, lambda: None, "1" * 32, may_wait=False)


def test_without_time_the_store_is_not_asked(replicas: tuple[World, World]) -> None:
    """A caller that waits no longer gets no wait, and its proof is not used."""
    world, _ = replicas
    prover = Prover(world)
    proof = prover.proof()
    answer = world.check(prover.message(proof, 1), deadline=0.05)

    assert reason_of(answer) == "overloaded"
    assert prover.ask(proof, 2) == "allow"


@pytest.fixture
def own(tmp_path: Path) -> Iterator[tuple[RedisServer, World]]:
    """A store of the test's own, and a service that refuses while it is away."""
    with RedisServer() as server, World(tmp_path, sharing(server, "own")) as world:
        aged(server, "own")
        yield server, world


def refused_away(world: World, answer: pb.CheckResponse) -> None:
    """The refusal says that the store is at fault, and that the client may try again soon."""
    assert reason_of(answer) == "store_unavailable"
    assert answer.denied_response.status.code == 503
    assert header_of(answer, "retry-after") == "1"
    assert world.audit_records()[-1]["detail"]


def forget_by_a_kill(server: RedisServer) -> None:
    """Lose everything, as without a disk."""
    server.restart()


def forget_by_a_command(server: RedisServer) -> None:
    """Lose everything while the server stays."""
    with server.admin() as client:
        client.flushall()


@pytest.mark.parametrize("forget", [forget_by_a_kill, forget_by_a_command])
def test_a_store_that_forgot(
    own: tuple[RedisServer, World],
    forget: Callable[[RedisServer], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was made before its memory begins is refused, used or not; later proofs pass again."""
    monkeypatch.setattr(single_use, "CLOCKS_DIFFER_SECONDS", 0.2)
    server, world = own
    prover = Prover(world)
    used, unused = prover.proof(), prover.proof()
    assert prover.ask(used) == "allow"
    forget(server)

    for number in range(20):
        assert prover.ask(used, number) in {"store_unavailable", "dpop_proof"}
    refused_away(world, world.check(prover.message(unused)))
    wait_until(fresh(prover))
    for proof in (used, unused):
        refused_away(world, world.check(prover.message(proof, 99)))
    assert "older than the store's memory" in world.audit_records()[-1]["detail"]


def test_a_store_that_stays_silent(tmp_path: Path) -> None:
    """Every use is refused within the timeout; what it may have marked passes for no other."""
    with RedisServer() as server, World(tmp_path, sharing(server, "silent", "300ms")) as world:
        aged(server, "silent")
        prover = Prover(world)
        proof = prover.proof()
        server.pause()
        for number in range(6):  # the last ones do not even wait
            refused_away(world, world.check(prover.message(proof, number)))
        assert reason_of(world.ask(world.token())) == "allow"  # what needs no mark goes on
        server.resume()
        wait_until(fresh(prover))
        reasons = Counter(prover.ask(proof, number) for number in range(6, 30))

    assert reasons["allow"] <= 1
    assert set(reasons) <= {"allow", "dpop_proof", "store_unavailable"}


def test_few_checks_wait_for_the_store(own: tuple[RedisServer, World]) -> None:
    """Half of server.max_waiting at most, for one agent: the next is refused at once."""
    server, world = own
    prover = Prover(world)
    server.pause()
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(prover.ask, prover.proof()) for _ in range(2)]
        wait_until(lambda: world.parts.bulkhead.status().waiting == 2)
        answer = world.check(prover.message(prover.proof()))
        server.resume()
        reasons = {each.result() for each in asked}

    assert reason_of(answer) == "overloaded"
    assert reasons <= {"allow", "store_unavailable"}


def test_what_is_revoked_during_the_wait_is_refused(own: tuple[RedisServer, World]) -> None:
    """A use that the store confirms after its agent was revoked allows nothing."""
    server, world = own
    prover = Prover(world)
    wait_until(fresh(prover))
    server.pause()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(prover.ask, prover.proof())
        wait_until(lambda: world.parts.bulkhead.status().waiting == 1)
        world.revocations.file.current = Revocations((Revocation(agent=TRAVEL),))
        world.revocations.generation += 1
        server.resume()
        assert asked.result() == "agent_suspended"


def test_a_flood_of_an_agent_leaves_the_store_to_others(
    replicas: tuple[World, World], redis: RedisServer
) -> None:
    """With a slow store the uses of a crowd wait for each other, and another agent's pass."""
    world, _ = replicas
    prover, authorizer = Prover(world), world.service.snapshot.authorizer
    check = read_check(world.service.snapshot.inputs, prover.message(prover.proof()))
    allow = authorizer.decide(check.request, time.time())
    assert isinstance(allow, Allow)
    other = msgspec.structs.replace(
        allow, agent=msgspec.structs.replace(allow.agent, spiffe_id=SpiffeId.parse(OTHER))
    )
    is_over = threading.Event()
    with (
        SlowProxy(redis.port) as proxy,
        opened_store("flood", url=f"redis://{proxy.address}") as store,
    ):
        aged(redis, "flood")
        uses = SingleUses(store, ReplaySettings(), is_shared=True)
        places = Bulkhead(100, nullcontext)
        consumption = Consumption(uses, Spender(store, is_shared=True), places, Clock())

        def use(allow: Allow) -> bool:
            once = SingleUse(secrets.token_bytes(8), time.time(), time.time() + 60)
            delegation = msgspec.structs.replace(allow.delegation, single_uses=(once,))
            allow = msgspec.structs.replace(allow, delegation=delegation)
            end = time.monotonic() + 1.0
            with suppress(Denied):
                consumption.consume(allow, check, "", lambda: end - time.monotonic(), None)
                return True
            return False

        def flood() -> None:
            while not is_over.is_set():
                use(allow)

        store.version(PATIENCE_SECONDS)
        proxy.delay_seconds = 0.1
        with ThreadPoolExecutor(49) as pool:
            try:
                for _ in range(49):
                    pool.submit(flood)
                wait_until(lambda: proxy.connections() > 2)
                passed = [use(other) for _ in range(8)]
            finally:
                is_over.set()
        assert passed.count(True) >= 6
        assert ("use", "held_back") not in store.status().calls


def test_a_wait_for_the_store_shows_in_traces(replicas: tuple[World, World]) -> None:
    """It is kept as a wait of its own."""
    world, _ = replicas
    prover, snapshot = Prover(world), world.service.snapshot
    check = read_check(snapshot.inputs, prover.message(prover.proof()))
    waits = Waits(world.service.clock)
    world.service._decider.decide(
        snapshot, check, time.time(), lambda: None, "2" * 32, may_wait=True, waits=waits
    )

    assert [wait.name for wait in waits.kept] == ["store"]


def test_a_store_without_room(own: tuple[RedisServer, World]) -> None:
    """It refuses as overloaded: it evicts nothing, and what was used stays used."""
    server, world = own
    prover = Prover(world)
    used = prover.proof()
    assert prover.ask(used) == "allow"
    with server.admin() as client:
        client.config_set("maxmemory", "1")
        assert prover.ask(prover.proof()) == "overloaded"
        assert prover.ask(used, 1) != "allow"
        client.config_set("maxmemory", "0")
    wait_until(fresh(prover))
    assert prover.ask(used, 1) == "dpop_proof"


def test_an_absent_store_with_local_marks(tmp_path: Path) -> None:
    """With when_away: local a proof passes once in this process, and the metrics say so."""
    with ExitStack() as opened:
        server = opened.enter_context(RedisServer())
        config = sharing(server, "local", when_away="local")
        world = opened.enter_context(World(tmp_path, config))
        aged(server, "local")
        prover = Prover(world)
        before, after = prover.proof(), prover.proof()
        assert prover.ask(before) == "allow"
        server.kill()

        assert prover.ask(before, 1) == "dpop_proof"
        reasons = [prover.ask(after, number) for number in (1, 1, 2)]
        assert reasons == ["allow", "allow", "dpop_proof"]
        assert (uses(world, "passed_locally"), uses(world, "passed")) == (2, 1)
        server.start()
        aged(server, "local")
        wait_until(lambda: fresh(prover)() and uses(world, "passed") > 1)
        assert prover.ask(after, 3) == "dpop_proof"  # this process still knows it


def test_replicas_agree_on_nonces(
    redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A nonce of one is good at the other; they agree again after the store lost the secret."""
    monkeypatch.setattr(nonce_secret, "_LOOK_SECONDS", 0.05)
    changes = sharing(redis, "nonces").with_(("token", "dpop", "nonce"), "required")
    (tmp_path / "b").mkdir()
    with World(tmp_path, changes) as first, World(tmp_path / "b", changes) as second:
        secrets = [world.parts.shared.nonces for world in (first, second)]
        wait_until(lambda: secrets[0].value == secrets[1].value)
        agreed = secrets[0].value
        prover = Prover(first)
        other = Prover(second)
        given = header_of(second.check(other.message(other.proof())), "dpop-nonce")
        nonce = header_of(first.check(prover.message(prover.proof())), "dpop-nonce")
        assert given == nonce
        assert prover.ask(prover.proof(nonce=nonce)) in {"allow", "store_unavailable"}

        with redis.admin() as client:
            client.delete("{authz:nonces}:agreed:dpop-nonce")
            wait_until(lambda: client.exists("{authz:nonces}:agreed:dpop-nonce"))
            assert secrets[0].value == secrets[1].value == agreed
            client.set("{authz:nonces}:agreed:dpop-nonce", b"short")
            client.set("{authz:nonces}:agreed:dpop-nonce", b"x" * 32)
        wait_until(lambda: secrets[0].value == secrets[1].value == b"x" * 32)


def test_no_secret_is_agreed_on_before_it_is_needed(
    redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written for clients that get no nonces; a reload may ask for them."""
    monkeypatch.setattr(nonce_secret, "_LOOK_SECONDS", 0.05)
    name, required = "{authz:later}:agreed:dpop-nonce", ("token", "dpop", "nonce")
    with World(tmp_path, sharing(redis, "later")) as world, redis.admin() as client:
        assert reason_of(world.ask(world.token())) == "allow"
        assert not client.exists(name)
        world.parts.reconfigure(
            world.configure(sharing(redis, "later").with_(required, "required"))
        )
        wait_until(lambda: client.get(name) == world.parts.shared.nonces.value)


def test_a_secret_of_its_own_until_the_store_answers(tmp_path: Path) -> None:
    """Without an answer of the store a process makes nonces by itself."""
    server = RedisServer()
    with server:
        url = server.url
    changes = ALONE.with_(("store",), {"url": url, "insecure": True})
    changes = changes.with_(("token",), {"dpop": {"nonce": "required"}})
    with World(tmp_path, changes) as world:
        prover = Prover(world)
        nonce = header_of(world.check(prover.message(prover.proof())), "dpop-nonce")
        answer = world.check(prover.message(prover.proof(nonce=nonce)))
        refused_away(world, answer)  # the nonce is good, and the proof can't be marked
