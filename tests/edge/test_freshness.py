"""No remembered decision outlives what it was decided on: random histories against a model.

The model is the pipeline without any memory. After every step the server's core, with all of its
caches, must decide as the model does: but for a deny, which may be remembered for ``deny_ttl``, and
for a wall clock that was set back, after which an allow may stand for ``ttl``.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any, ClassVar, Final

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from authz._pb import ext_authz_pb2 as pb
from authz.adapters.revocation_file import RevocationSettings
from authz.adapters.revocations.sources import RevocationSources
from authz.adapters.revocations.stored import StoredRevocations
from authz.config import Config, load_text
from authz.core.decision import Agent, Allow, Delegation
from authz.core.delegation.status_list_token import StatusList
from authz.core.jose.jwk import parse_key_set
from authz.core.jose.key_set import KeySet
from authz.core.reason import Denied, Reason
from authz.core.request import Operation, Request
from authz.core.revocations import Revocation, read_entry
from authz.edge import methods
from authz.edge.cache import CacheEntry, DecisionCache
from authz.edge.clock import Clock
from authz.edge.envoy import Authorization
from authz.edge.envoy.reader import read_check
from authz.wiring.parts import open_parts
from authz.wiring.snapshot import Lookups, build_authorizer, build_delegations
from lab.ca import Svid
from lab.config_builder import AT_ALICE, AT_ISSUER, AT_PUBLIC_RULE, AT_READ_RULE, LAB, ConfigBuilder
from lab.issuer import Issuer
from lab.mesh import AUDIENCE, ISSUER, PAYMENTS, TRAVEL
from support.posts import message as call
from support.revocation_model import check_all
from support.shaky_store import ShakyStore
from support.world import READ, World, check_request, header_of, reason_of

pytestmark = pytest.mark.drawn
TTL, DENY_TTL = 30.0, 1.0
CALL_PATH = "/trips/mcp"
CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "search"}}
PATHS = ("/finance/balance", "/finance/other", "/public/a", "/forbidden", CALL_PATH)
AWAY_AFTER = 10.0
LIST_URI = "http://127.0.0.1:9/list"  # where nobody answers
LIST_PLACES = 4
CALL_RULE = """\
- hosts: ["*"]
  methods: [POST]
  paths: [/trips/**]
  scopes: []
  mcp: {tools: [search]}
"""
AGENTS = (TRAVEL, PAYMENTS)
CHANGES = (
    *("rotate", "withdraw", "reload", "revoke", "revoke", "pardon"),
    *("go", "come", "come", "lose", "publish"),
)
EDITS = (
    ("subjects: [alice]", "subjects: [alice, bob]"),
    ("methods: [GET]", "methods: [PUT]"),
)


class Keys:
    """Key sets as the store keeps them, changed by the test."""

    def __init__(self, issuer: Issuer) -> None:
        """Begin with the issuer's."""
        self.generation = 0
        self._issuer = issuer
        self._set: KeySet | None = None

    def take(self, now: float, max_age: float) -> None:
        """Fetch."""
        keys, refused = parse_key_set(self._issuer.jwks(), frozenset({"ES256"}))
        self._set = KeySet(keys, refused, now, now + max_age)
        self.generation += 1

    def get(self, _: str) -> KeySet | None:
        """The issuer's."""
        return self._set

    def refresh(self, *_: object) -> bool:
        """Bring nothing new."""
        return False

    def outdate(self) -> None:
        """Make stale what was remembered."""
        self.generation += 1

    def reconfigure(self, _: object) -> None:
        """Stay as they are: a config changes nothing of them here."""


class Lists:
    """The status list of the issuer, as the server has fetched it last."""

    def __init__(self) -> None:
        """Begin without a list."""
        self.found: StatusList | None = None
        self.until = 0.0

    def get(self, _issuer: str, _uri: str) -> StatusList | None:
        """The last one."""
        return self.found

    def take(self, client: Any, found: StatusList) -> None:
        """Have the server's client keep a list, as after a fetch."""
        self.found, self.until = found, found.usable_until
        if client._kept.take(LIST_URI, found, 1e9):
            client._outdate()


class Revoked:
    """What is revoked in the file and in the store, and the sources that the server has."""

    def __init__(self, folder: Path) -> None:
        """Begin with nothing revoked."""
        self.monotonic = 0.0
        self.path = folder / "revoked.jsonl"
        self.path.write_bytes(b"")
        self.store = ShakyStore()
        settings = RevocationSettings(file=str(self.path), away_after=AWAY_AFTER)
        self.sources = RevocationSources(settings, self.store)
        clock: Any = lambda: self.monotonic  # noqa: E731 - of two objects
        self.sources.store = StoredRevocations(
            self.store, settings, self.sources._changed, monotonic=clock
        )
        self.in_file: list[Revocation] = []
        self.of_store: dict[str, Revocation] = {}  # as last seen, and what was lost since
        self.is_refusing = self.is_written = True
        self.seen_at = self.looked = 0.0
        self.look()

    def look(self) -> None:
        """Have the server look, as it does within a second; and say what it has to find."""
        for _ in range(8 * self.is_written):  # the file rests
            self.looked += 0.2
            self.sources.file.refresh(self.looked)
        self.is_written = False
        assert self.sources.store is not None
        self.sources.store.look()
        self.sources.store.absence.judge()
        if not self.store.is_away:
            self.seen_at, self.is_refusing = self.monotonic, False
            held = {name: read_entry(line) for name, line in self.store.held().items()}
            self.of_store = held
        elif self.monotonic - self.seen_at > AWAY_AFTER:
            self.is_refusing = True

    def check(
        self, agent: Agent, delegation: Delegation, operations: tuple[Operation, ...]
    ) -> None:
        """Check without any memory. Raises Denied."""
        check_all(self.in_file, agent, delegation, operations)
        check_all(self.of_store.values(), agent, delegation, operations)
        if self.is_refusing:
            raise Denied(Reason.STORE_UNAVAILABLE)

    def revoked_agents(self, agents: Iterable[str]) -> tuple[str, ...]:
        """Those of the agents that are revoked."""
        entries = (*self.in_file, *self.of_store.values())
        return tuple({*agents} & {entry.agent for entry in entries if entry.agent})

    def write_file(self, entries: list[Revocation]) -> None:
        """Replace the file."""
        self.in_file, self.is_written = entries, True
        self.path.write_bytes(b"".join(entry.line + b"\n" for entry in entries))


# Of the policy, each made or taken back.
POLICY_CHANGES: Final = (
    LAB.with_((*AT_ALICE, "match", "subjects"), ["alice", "bob"]),
    LAB.with_((*AT_READ_RULE, "methods"), ["PUT"]).with_((*AT_PUBLIC_RULE, "methods"), ["PUT"]),
)


class Freshness(RuleBasedStateMachine):
    """Requests among rotations, revocations, reloads and time."""

    world: World  # its config and CA; made once, as are these:
    svids: ClassVar[dict[tuple[str, bool], Svid]]
    began: float

    @initialize()
    def begin(self) -> None:
        """Everything of this history."""
        self.now, self.monotonic = self.began, 1000.0
        self.set_back_at = -1e9
        self.issuer = Issuer(ISSUER, AUDIENCE)
        self.keys, self.revoked = Keys(self.issuer), Revoked(self.world.folder)
        self.keys.take(self.now, 600)
        self.tokens: list[tuple[str, str]] = []
        self.denied_at: dict[tuple[Any, ...], float] = {}
        self.text = self.world.config_text
        self.made: set[ConfigBuilder] = set()
        clock = Clock(lambda: self.now, lambda: self.monotonic)
        keys: Any = self.keys
        self.lists = Lists()
        config, revocations = self.compile_model(), self.revoked.sources
        opening = open_parts(config, clock=clock, keys=keys, revocations=revocations)
        self.opened = ExitStack()
        self.parts = self.opened.enter_context(opening)  # which are not started
        self.service = self.parts.service
        self.authorization = Authorization(self.service)
        self.take_list(bytes(1), 600)
        self.new_token("alice", TRAVEL, 300, 0, True)
        self.asked = (self.tokens[0][0], TRAVEL, PATHS[0], False)

    def teardown(self) -> None:
        """Close what this history opened."""
        self.opened.close()

    def compile_model(self) -> Config:
        """Make the model, which has no caches, of the config as it is now."""
        config = load_text(self.text.encode(), "t")
        keys: Any = self.keys
        self.model = build_authorizer(
            config, build_delegations(config, Lookups(keys, lists=self.lists)), self.revoked
        )
        self.denied_at.clear()
        return config

    @rule(
        subject=st.sampled_from(["alice", "bob"]),
        agent=st.sampled_from(AGENTS),
        lifetime=st.sampled_from([5, 20, 300]),
        begins=st.sampled_from([-10, 0, 3, 100]),
        listed=st.booleans(),
    )
    def new_token(
        self,
        subject: str,
        agent: str,
        lifetime: int,
        begins: int,
        listed: bool,  # noqa: FBT001 - drawn
    ) -> None:
        """A token, perhaps short, perhaps not valid yet, perhaps in the status list."""
        times: dict[str, Any] = {"iat": int(self.now), "nbf": int(self.now) + begins}
        exp, jti = int(self.now) + lifetime, f"t{len(self.tokens)}"
        key = self.issuer.current
        claims: dict[str, Any] = {"sid": f"of-{subject}", "email": f"{subject}@corp"}
        if listed:
            place = {"idx": len(self.tokens) % LIST_PLACES, "uri": LIST_URI}
            claims["status"] = {"status_list": place}
        token = self.issuer.token(
            agent, subject, READ, key=key, exp=exp, jti=jti, **times, **claims
        )
        self.tokens.append((token, jti))

    @rule(
        which=st.integers(0, 5),
        agent=st.sampled_from(AGENTS),
        path=st.sampled_from(PATHS),
        short=st.booleans(),
    )
    def ask(self, which: int, agent: str, path: str, short: bool) -> None:  # noqa: FBT001 - drawn
        """One request."""
        token, _ = self.tokens[-1 - which % len(self.tokens)]
        self.asked = (token, agent, path, short)
        self.compare(*self.asked)

    def compare(self, token: str, agent: str, path: str, short: bool) -> None:  # noqa: FBT001 - drawn
        """The core and the model about it."""
        svid = self.svids[agent, short]
        headers = [("authorization", f"Bearer {token}")]
        message = check_request(svid, headers, path=path, principal=agent)
        if path == CALL_PATH:
            message = call(self.world, CALL, path=path, token=token)
            message.attributes.source.CopyFrom(
                check_request(svid, headers, principal=agent).attributes.source
            )
        answer = pb.CheckResponse.FromString(
            methods.answer(self.authorization, message.SerializeToString(), lambda: 1.0)
        )
        request = read_check(self.service.snapshot.inputs, message).request
        decision = self.model.decide(request, self.now)
        key = (token, agent, path, short)
        got = reason_of(answer)
        if not isinstance(decision, Allow):
            self.denied_at[key] = self.monotonic
        if got == "allow":
            self.check_allow(answer, decision, request)
        elif isinstance(decision, Allow):
            assert self.monotonic < self.denied_at.get(key, -1e9) + DENY_TTL, got
        elif decision.reason.code != got:
            assert self.monotonic < self.denied_at[key] + DENY_TTL

    @rule()
    def ask_again(self) -> None:
        """The last request once more: what is remembered must matter."""
        self.compare(*self.asked)

    def check_allow(self, answer: pb.CheckResponse, decision: Any, request: Any) -> None:
        """An allow is the model's; and the model would say so until ``valid_until``."""
        was_set_back = self.monotonic < self.set_back_at + TTL
        assert isinstance(decision, Allow) or was_set_back, decision
        valid_until = float(str(answer.dynamic_metadata["valid_until"]))
        assert valid_until <= self.now + TTL or was_set_back
        last = self.model.decide(request, max(self.now, valid_until - 0.001))
        assert isinstance(last, Allow) or was_set_back or valid_until <= self.now
        if isinstance(decision, Allow):
            assert header_of(answer, "x-agent-principal") == decision.delegation.subject

    @rule(seconds=st.sampled_from([0.2, 0.9, 4.0, 12.0, 31.0, 200.0, 400.0]))
    def wait(self, seconds: float) -> None:
        """Time goes on."""
        self.now += seconds
        self.monotonic += seconds
        self.revoked.monotonic += seconds
        self.revoked.look()

    @rule(seconds=st.sampled_from([-100.0, -5.0, 5.0]))
    def set_clock(self, seconds: float) -> None:
        """Somebody sets the wall clock."""
        self.now += seconds
        if seconds < 0:
            self.set_back_at = self.monotonic
        self.denied_at = dict.fromkeys(self.denied_at, self.monotonic)

    @rule(change=st.sampled_from(CHANGES), data=st.data())
    def change(self, change: str, data: st.DataObject) -> None:
        """What decisions depend on changes; in one rule, or nothing would stay for long."""
        getattr(self, change)(data.draw)

    def rotate(self, draw: Any) -> None:
        """Another key; the old ones stay for a while."""
        self.issuer.rotate()
        self.keys.take(self.now, draw(st.sampled_from([10, 600])))

    def withdraw(self, draw: Any) -> None:
        """Another key; the old ones are good no more."""
        old = list(self.issuer.keys)
        self.rotate(draw)
        for key_id in old:
            self.issuer.keys.pop(key_id)
        self.keys.take(self.now, 600)

    def publish(self, draw: Any) -> None:
        """Another status list, or the same again; asked about at once, as the next may differ."""
        numbers = draw(st.sampled_from([1, 0, 15, 2]))
        self.compare(*self.asked)
        self.take_list(bytes([numbers]), draw(st.sampled_from([20, 600])))
        self.compare(*self.asked)

    def take_list(self, numbers: bytes, seconds: float) -> None:
        """The server has fetched a list, usable for so long, and never less than before."""
        key_id, keys = self.issuer.current.key_id, self.keys.get("")
        assert keys is not None
        found = StatusList(
            bits=1,
            numbers=numbers,
            issued_at=self.monotonic,  # which is never set back
            fetched_at=self.now,
            usable_until=max(self.now + seconds, self.lists.until),
            ttl_seconds=None,
            key_id=key_id,
            thumbprint=keys.keys[key_id].thumbprint,
        )
        self.lists.take(self.parts.status_lists._clients[ISSUER], found)

    def revoke(self, draw: Any) -> None:
        """Something is revoked, in the file or in the store if it is there."""
        before = datetime.fromtimestamp(self.now + draw(st.sampled_from([-100, 0, 100])), UTC)
        entries = [
            *[Revocation(agent=agent) for agent in AGENTS],
            *[Revocation(issuer=ISSUER, token_id=jti) for _, jti in self.tokens[-3:]],
            Revocation(issuer=ISSUER),
            Revocation(issuer=ISSUER, subject="alice", before=before),
            Revocation(issuer=ISSUER, session="of-alice", before=before),
            Revocation(issuer=ISSUER, email="Bob@corp"),
            Revocation(tool="search"),
            Revocation(everything=True),
        ]
        entry = draw(st.sampled_from(entries))
        if draw(st.booleans()):
            self.revoked.write_file([*self.revoked.in_file, entry])
        elif not self.revoked.store.is_away:
            self.revoked.store.revoke(entry)
        self.revoked.look()

    def pardon(self, draw: Any) -> None:
        """It is taken back, where it can be."""
        if draw(st.booleans()):
            self.revoked.write_file([])
        elif not self.revoked.store.is_away:
            self.revoked.store.take_back([*self.revoked.store.held()], "x", "", 1.0)
        self.revoked.look()

    def go(self, _: Any) -> None:
        """The store goes away."""
        self.revoked.store.is_away = True
        self.revoked.look()

    def come(self, _: Any) -> None:
        """The store is back."""
        self.revoked.store.is_away = False
        self.revoked.look()

    def lose(self, _: Any) -> None:
        """The store loses everything; what is known stays, and is in it again when it answers."""
        self.revoked.store.lose_all()
        known = dict(self.revoked.of_store)
        self.revoked.look()
        if not self.revoked.store.is_away:
            assert self.revoked.of_store == known

    def reload(self, draw: Any) -> None:
        """Another policy, or the one before."""
        change, is_made = draw(st.sampled_from([*product(POLICY_CHANGES, (True, False))]))
        self.made = (self.made | {change}) if is_made else (self.made - {change})
        self.text = self.world.config_text
        for made in self.made:
            self.text = made.edit(self.text)
        self.parts.reconfigure(self.compile_model())


@pytest.fixture(scope="module", autouse=True)
def _stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    trips = "{name: trips, paths: [/trips/**], protocol: mcp, resource: https://mcp.corp.example/finance}"
    changes = LAB.with_routes(f"- {trips}\n").with_rules("finance-read", CALL_RULE)
    lists = {"uris": [LIST_URI], "insecure": True}
    changes = changes.with_((*AT_ISSUER, "status_list"), lists)
    with World(tmp_path_factory.mktemp("freshness"), changes) as world:
        issue = world.authority.issue
        Freshness.world = world
        Freshness.svids = {
            (agent, is_short): issue(agent, lifetime_seconds=40 if is_short else 10**6)
            for agent in AGENTS
            for is_short in (False, True)
        }
        Freshness.began = time.time()
        yield


def histories(count: int, *phases: Phase, always_the_same: bool = False) -> None:
    """Live through so many random ones."""
    run_state_machine_as_test(
        Freshness,
        settings=settings(
            max_examples=count,
            stateful_step_count=40,
            deadline=None,
            phases=phases,
            derandomize=always_the_same,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("part", range(4))  # each within the time of a test on a busy machine
def test_no_answer_is_stale(part: int) -> None:  # noqa: ARG001 - each lives through others
    """Whatever happens, every answer is the model's."""
    histories(100, *Phase)


@pytest.mark.parametrize("overlooks", ["changes", "time"])
def test_the_test_notices(overlooks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that overlooks one of these is found out, by the same histories each time."""

    def careless(
        cache: DecisionCache, request: Request, now: float, monotonic: float, generation: int
    ) -> CacheEntry | None:
        entry = cache._entries.get(request)
        if entry is None:
            return None
        is_in_time = now < entry.valid_until and monotonic < entry.fresh_until
        is_unchanged = generation == entry.generation
        return entry if (is_in_time if overlooks == "changes" else is_unchanged) else None

    monkeypatch.setattr(DecisionCache, "get", careless)
    with pytest.raises(AssertionError):
        histories(400, Phase.generate, always_the_same=True)


def test_the_test_notices_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """So is a change of a status list that nobody is told of."""

    def silent(lists: Lists, client: Any, found: StatusList) -> None:
        lists.found, lists.until = found, found.usable_until
        client._kept.take(LIST_URI, found, 1e9)

    monkeypatch.setattr(Lists, "take", silent)
    with pytest.raises(AssertionError):
        histories(400, Phase.generate, always_the_same=True)
