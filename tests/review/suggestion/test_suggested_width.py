"""What ``suggest`` proposes is no wider than its evidence in any dimension, for all that was seen.

Refused requests are made at random, their audit records are read by ``suggest``, and its diff is
applied. Then each combination of agents, principals, scopes, methods, paths, calls and earlier
actors that occurs is asked of the old and of the new config. The model of what is justified reads
the records alone.
"""

import itertools
import json
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from authz.config import Config, load
from authz.core.decision import Actor, Agent, Delegation, Mode, Permit
from authz.core.policy.message_evaluation import evaluate_all
from authz.core.policy.query import PolicyQuery
from authz.core.reason import Denied
from authz.core.request import Call, CallKind, MessageProtocol, Operation, Request
from authz.core.spiffe import SpiffeId
from authz.wiring.policy import build_policy
from support.verbs import run

DOMAIN = "spiffe://corp.example"
ONE, TWO, STRANGER, EARLIER = (f"{DOMAIN}/{name}" for name in ("one", "two", "stranger", "earlier"))
ISSUER = "https://as.corp.example"
CONFIG = """\
server: {listen: "unix:/tmp/authz.sock"}
trust_domains: [corp.example]
issuers:
  - issuer: https://as.corp.example
    keys: {jwks_uri: "https://as.corp.example/jwks"}
    audiences: [a]
    algorithms: [ES256]
    typ: [at+jwt]
    actors_from: [corp.example]
routes:
  - {name: batch, paths: [/batch/**], modes: [autonomous]}
agents:
  - {id: "spiffe://corp.example/one", grants: [old-read]}
  - {id: "spiffe://corp.example/two", grants: [old-read, old-limited]}
principals:
  - {match: {issuer: "https://as.corp.example", subjects: [bob]}, grants: [old-write, old-read]}
  - {match: {issuer: "https://as.corp.example", groups: [staff]}, grants: [old-read]}
grants:
  old-read:
    - {hosts: [h.example], methods: [GET], paths: [/a/**], scopes: [read]}
  old-write:
    - {hosts: [h.example], methods: [POST, GET], paths: [/a/**, /batch/**], scopes: []}
    - {hosts: [h.example], methods: [POST], paths: [/m], scopes: [], models: {names: ["*"]}}
  old-limited:
    - {hosts: [h.example], methods: [POST], paths: [/a/limited], scopes: [], max_actors: 1}
"""
A2A, MODEL, MCP = MessageProtocol.A2A, MessageProtocol.OPENAI, MessageProtocol.MCP
CALLS: Mapping[MessageProtocol, list[Call]] = {
    MessageProtocol.NONE: [],
    MCP: [
        Call("tools/call", CallKind.TOOL, "x"),
        Call("tools/call", CallKind.TOOL, "y"),
        Call("logging/setLevel"),
        Call("resources/read", CallKind.RESOURCE, "file:///a"),
    ],
    A2A: [
        Call("SendMessage"),
        Call("SendMessage", CallKind.SKILL, "plan"),
        Call("SendStreamingMessage", CallKind.SKILL, "book"),
        Call("GetTask", CallKind.TASK, "t-1"),
        Call("CancelTask", CallKind.TASK, "t-2"),
    ],
    MODEL: [
        Call("chat/completions", CallKind.MODEL, name, tools=tools, is_streaming=streaming)
        for name in ("big", "small")
        for tools in ((), ("sh",), ("sh", "web"))
        for streaming in (False, True)
    ],
}
PATHS = {MCP: ["/mcp"], A2A: ["/a2a"], MODEL: ["/m"]}
PLAIN = ["/a/b", "/a/7", "/a/8", "/a/limited", "/batch/run", "/batch/7"]


@dataclass(frozen=True)
class Asked:
    """A request; ``principal`` is "" for an agent by its SVID alone."""

    agent: str
    principal: str
    scopes: frozenset[str]
    method: str
    path: str
    protocol: MessageProtocol = MessageProtocol.NONE
    call: Call | None = None
    earlier: tuple[str, ...] = ()

    @property
    def issuer(self) -> str:
        """Who vouches for the principal."""
        return ISSUER if self.principal else DOMAIN

    def query(self) -> PolicyQuery:
        """The question to a policy."""
        calls = () if self.call is None else (self.call,)
        request = Request(self.method, "h.example", self.path, protocol=self.protocol, calls=calls)
        actors = tuple(Actor(self.issuer, name) for name in (self.agent, *self.earlier))
        delegation = Delegation(
            self.issuer,
            self.principal or self.agent,
            actors,
            self.scopes,
            0.0 if not self.principal else 1e9,
            2e9,
            mode=Mode.ACT if self.principal else Mode.AUTONOMOUS,
            by_svid=not self.principal,
        )
        (operation,) = Operation.of(request).each(request)
        return PolicyQuery(Agent(SpiffeId.parse(self.agent)), delegation, operation, request, 1.1e9)

    def record(self, *, is_denied: bool) -> dict[str, Any]:
        """The audit record of its refusal, in earnest or in shadow."""
        call = self.call
        shadow = {"by": "policy", "decision": "deny", "reason": "policy_denied", "rule": ""}
        said = [] if call is None else [
            {"method": call.method, "kind": str(call.kind), "name": call.name,
             "tools": list(call.tools), "streaming": call.is_streaming}
        ]  # fmt: skip
        return {
            "decision": "deny" if is_denied else "allow",
            "reason": "policy_denied" if is_denied else "",
            "shadows": [] if is_denied else [shadow],
            **dict.fromkeys(("detail", "rule", "principal_rule", "token_id", "proxy"), ""),
            "agent": self.agent, "principal": self.principal or self.agent, "issuer": self.issuer,
            "actors": [{"iss": self.issuer, "sub": name} for name in (self.agent, *self.earlier)],
            "mode": "act" if self.principal else "autonomous", "by_svid": not self.principal,
            "scopes": sorted(self.scopes), "policy_version": "another", "by_policy": True,
            "method": self.method, "host": "h.example", "path": self.path, "flags": [],
            "time": "2026-11-25T10:00:00Z", "issued_at": 1e9, "decision_id": "d",
            "protocol": str(self.protocol), "calls": said,
        }  # fmt: skip


def asked() -> st.SearchStrategy[Asked]:
    """Requests."""
    scopes = st.frozensets(st.sampled_from(["read", "write", "openid"]))
    agents = st.sampled_from([ONE, TWO, STRANGER])
    methods = st.sampled_from(["GET", "POST"])
    people = st.sampled_from(["alice", "bob", "carol"])
    earlier = st.sampled_from([(), (), (), (EARLIER,)])
    plain = st.builds(
        Asked, agents, people, scopes, methods, st.sampled_from(PLAIN), earlier=earlier
    )
    alone = st.builds(
        Asked, agents, st.just(""), st.just(frozenset()), methods, st.sampled_from(PLAIN)
    )
    messages = st.sampled_from([MCP, A2A, MODEL]).flatmap(
        lambda protocol: st.builds(
            Asked, agents, people, scopes, st.just("POST"), st.sampled_from(PATHS[protocol]),
            st.just(protocol), st.sampled_from(CALLS[protocol]),
        )
    )  # fmt: skip
    return plain | alone | messages


def allows(config: Config, questions: Iterable[Asked]) -> set[Asked]:
    """What a config allows of these."""
    policy = build_policy(config)
    found = set()
    for question in questions:
        try:
            outcome = evaluate_all(policy, [question.query()]).outcome
        except Denied:
            continue
        if isinstance(outcome, Permit):
            found.add(question)
    return found


def suggested(folder: Path, seen: list[Asked], *, is_denied: bool) -> tuple[Config, Config]:
    """The config, and the config to which the suggestion was applied."""
    path, log = folder / "authz.yaml", folder / "log"
    path.write_text(CONFIG)
    records = [json.dumps(one.record(is_denied=is_denied)) for one in seen]
    log.write_text("\n".join(records) + "\n")
    old, out = load(path), StringIO()
    more = ["--denied"] if is_denied else []
    with redirect_stdout(out):
        assert run("suggest", str(path), "--audit", str(log), "--diff", *more) == 0
    diff = out.getvalue().replace(f"{folder}/", "")
    if any(not line.startswith("#") for line in diff.splitlines()):
        command = ["patch", "-p0", "--fuzz=0"]
        subprocess.run(command, input=diff.encode(), cwd=folder, check=True, capture_output=True)
    return old, load(path)


def is_justified(question: Asked, seen: Iterable[Asked]) -> bool:
    """Tell whether a request was seen, but for more scopes, fewer actors and another ID."""
    return any(
        (one.agent, one.principal, one.method, one.protocol)
        == (question.agent, question.principal, question.method, question.protocol)
        and one.scopes <= question.scopes
        and {*question.earlier} <= {*one.earlier}
        and is_path_seen(question.path, one, seen)
        and is_call_seen(question.call, one.call)
        for one in seen
    )


def is_path_seen(path: str, one: Asked, seen: Iterable[Asked]) -> bool:
    """Tell whether the path is that of the evidence, or two of its IDs were seen."""
    folder, _, name = path.rpartition("/")
    ids = {
        other.path.rpartition("/")[2]
        for other in seen
        if other.path.rpartition("/")[0] == folder
        and (other.agent, other.principal) == (one.agent, one.principal)
        and other.path.rpartition("/")[2].isdigit()
    }
    is_id = one.path.rpartition("/")[0] == folder and one.path.rpartition("/")[2] in ids
    return path == one.path or (len(ids) > 1 and is_id and name != "")


def is_call_seen(call: Call | None, one: Call | None) -> bool:
    """Tell whether the call was seen, as far as rules can tell calls apart."""
    if call is None or one is None:
        return call is one
    if call.kind is CallKind.MODEL:
        is_alike = (call.name, call.is_streaming) == (one.name, one.is_streaming)
        return is_alike and {*call.tools} <= {*one.tools}
    if CallKind.TASK in (call.kind, one.kind):  # the server chooses their ids
        return call.method == one.method and call.kind in (CallKind.TASK, CallKind.SERVER)
    return (call.method, call.kind, call.name) == (one.method, one.kind, one.name)


def product(seen: list[Asked]) -> set[Asked]:
    """Each combination of all values that occur, and of principals who were not seen."""
    agents = sorted({one.agent for one in seen})
    people = ["", "alice", "bob", "carol"]
    scopes = sorted({one.scopes for one in seen} | {frozenset()}, key=sorted)
    chains = sorted({one.earlier for one in seen} | {(), (EARLIER,)})
    targets = {(one.path, one.protocol, one.call) for one in seen}
    targets |= {(path, MessageProtocol.NONE, None) for path in PLAIN if any(
        one.protocol is MessageProtocol.NONE for one in seen)}  # fmt: skip
    targets |= {(one.path, one.protocol, call) for one in seen for call in CALLS[one.protocol]}
    return {
        Asked(agent, who, has if who else frozenset(), method, *target, chain if who else ())
        for agent, who, has, method, target, chain in itertools.product(
            agents, people, scopes, ("GET", "POST"), targets, chains
        )
    }


def limited(seen: Iterable[Asked]) -> set[Asked]:
    """The requests that a rule of the old config is about, and refuses: no rule evades these."""
    return {
        one
        for one in seen
        if one.protocol is MessageProtocol.NONE
        and one.path.startswith("/a/")
        and (
            (one.method == "GET" and "read" not in one.scopes and one.agent != STRANGER)
            or ((one.agent, one.method, one.path) == (TWO, "POST", "/a/limited") and one.earlier)
        )
    }


READ, WRITE, NONE = frozenset({"read"}), frozenset({"write"}), frozenset[str]()


@pytest.mark.parametrize("is_denied", [True, False])
@example(seen=[Asked(ONE, "alice", WRITE, "POST", "/a/b"), Asked(ONE, "alice", NONE, "GET", "/x")])
@example(seen=[Asked(ONE, "alice", READ, "GET", "/a/b"), Asked(ONE, "bob", READ, "GET", "/a/c")])
@example(seen=[Asked(ONE, "alice", WRITE, "POST", "/a/b")])  # bob holds a rule for it
@example(seen=[Asked(ONE, "", NONE, "POST", "/batch/run")])  # and so he does for this
@example(seen=[Asked(ONE, "alice", NONE, "POST", "/batch/run")])  # the agent alone could use it
@settings(max_examples=10)
@given(seen=st.lists(asked(), min_size=1, max_size=8))
def test_no_wider_than_its_evidence(seen: list[Asked], *, is_denied: bool) -> None:
    """All that is newly allowed was seen, in each dimension; and all that was seen is allowed."""
    with TemporaryDirectory() as name:
        old, new = suggested(Path(name), seen, is_denied=is_denied)
    questions = product(seen) | {*seen}
    before, after = allows(old, questions), allows(new, questions)
    wider = [one for one in after - before if not is_justified(one, seen)]
    assert not wider
    assert {*seen} - limited(seen) <= after
    assert not limited(seen) & (after - before)
