"""Rules and matches with what they read, and requests and delegations that have any of it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from authz.core.decision import Actor, Agent, Delegation
from authz.core.policy import ConditionSettings, PrincipalMatch, PrincipalSettings, RuleSettings
from authz.core.policy.principal_entry import PrincipalEntry, compile_entry
from authz.core.policy.query import PolicyQuery
from authz.core.policy.rules import Rule, RuleSet
from authz.core.policy.time_windows import WindowSettings
from authz.core.reads import NOTHING, Reads
from authz.core.request import Call, CallKind, MessageProtocol, Operation, Request
from authz.core.spiffe import SpiffeId

AGENT, EARLIER, ISSUER = "spiffe://td/agent", "spiffe://td/earlier", "https://issuer.example"
TYPE = "https://corp.example/authz/call"
CONDITIONS = ConditionSettings(headers=("x-env", "x-team"), claims=("level", "org"))
BOTH = Reads(headers=frozenset(CONDITIONS.headers), claims=frozenset(CONDITIONS.claims))
NOW = 1_800_000_000.0


def of_headers(*names: str) -> Reads:
    """Return the reads of headers."""
    return Reads(headers=frozenset(names))


def of_claims(*names: str) -> Reads:
    """Return the reads of claims."""
    return Reads(claims=frozenset(names))


def when(text: str) -> dict[str, Any]:
    """Make a rule's condition."""
    return {"when": text}


# By the key of a rule: what else the rule has with it, and what it then reads.
KEYS: dict[str, list[tuple[dict[str, Any], Reads]]] = {
    "scopes": [({"scopes": ("a",)}, NOTHING)],
    "headers": [
        ({"headers": {"x-env": ("prod",)}}, of_headers("x-env")),
        ({"headers": {"x-env": ("*",), "x-team": ("a", "b")}}, of_headers("x-env", "x-team")),
        ({"headers": {"x-env": ("prod",)}, "effect": "deny"}, of_headers("x-env")),
    ],
    "during": [
        ({"during": (WindowSettings(not_after=datetime.fromtimestamp(NOW + 7.5, UTC)),)}, NOTHING)
    ],
    "max_actors": [({"max_actors": 1}, NOTHING)],
    "max_token_age": [({"max_token_age": 60.0}, NOTHING)],
    "acr_values": [({"acr_values": ("gold",)}, of_claims("acr"))],
    "max_age": [
        ({"max_age": 60.0}, of_claims("auth_time")),
        ({"max_age": 60.0, "acr_values": ("gold",)}, of_claims("acr", "auth_time")),
    ],
    "via": [({"via": (EARLIER,)}, NOTHING), ({"via": (EARLIER,), "effect": "deny"}, NOTHING)],
    "when": [
        (when("delegation.depth < 2"), NOTHING),
        (when('claims.level == "gold"'), of_claims("level", "org")),
        ({**when('claims.level == "gold"'), "effect": "deny"}, of_claims("level", "org")),
        (when('request.headers["x-env"] == "prod"'), of_headers("x-env", "x-team")),
        (when('"org" in claims || size(request.headers) > 1'), BOTH),
    ],
    "add_headers": [
        ({"add_headers": {"x-agent-dept": "dept"}}, of_claims("dept")),
        ({"add_headers": {"x-agent-dept": "/org/dept"}}, of_claims("org")),
    ],
    "budget": [
        ({"budget": {"limit": 10.0, "per": "agent", "window": 60.0}}, NOTHING),
        (
            {
                "budget": {"limit": 9.5, "per": "pair", "window": 60.0, "cost": "/order/sum"},
                "mcp": {"tools": ("pay",)},
            },
            NOTHING,
        ),
    ],
    "approval": [
        ({"approval": {"type": TYPE, "arguments": ()}}, of_claims("authorization_details", "exp")),
        (
            {
                "approval": {"type": TYPE, "url": "https://approve.example", "once": False},
                "mcp": {"tools": ("pay",)},
            },
            Reads(
                headers=frozenset({"mcp-protocol-version"}),
                claims=frozenset({"authorization_details", "exp"}),
            ),
        ),
    ],
    "mcp": [({"mcp": {"tools": ("pay",)}}, NOTHING), ({"mcp": {"tools": ("*",)}}, NOTHING)],
    "a2a": [({"a2a": {"methods": ("SendMessage",), "skills": ("pay",)}}, NOTHING)],
    "models": [
        ({"models": {"names": ("m",)}}, NOTHING),
        ({"models": {"names": ("m",)}, "effect": "deny"}, NOTHING),
    ],
}
# What says nothing of a request, or is found by an index and stands in every Request.
NOT_ASKED = {"name", "description", "owner", "effect", "shadow", "hosts", "methods", "paths"}
EXAMPLES = [example for examples in KEYS.values() for example in examples]
# By the key of a match likewise.
MATCHES: dict[str, list[tuple[dict[str, Any], Reads]]] = {
    "issuer": [({}, NOTHING)],
    "subjects": [({"subjects": ("alice", "spiffe://td/*")}, NOTHING)],
    "groups": [({"groups": ("a", "b")}, of_claims("groups"))],
    "roles": [({"roles": ("a",), "groups": ("a",)}, of_claims("groups", "roles"))],
    "claims": [({"claims": {"dept": ("a", 1), "/org/dept": (True,)}}, of_claims("dept", "org"))],
}
MATCHED = [example for examples in MATCHES.values() for example in examples]


def rule(keys: Mapping[str, Any]) -> RuleSettings:
    """Make a rule of everything with these keys."""
    scopes = {} if keys.get("effect") == "deny" else {"scopes": ()}
    return RuleSettings(**{"hosts": ("*",), "methods": ("*",), "paths": ("/**",), **scopes, **keys})


def entry_of(match: Mapping[str, Any]) -> PrincipalEntry:
    """Make an entry that allows and denies."""
    settings = PrincipalSettings(match=PrincipalMatch(issuer=ISSUER, **match), grants=("g",))
    return compile_entry(
        0, settings, RuleSet([Rule.of("g/0", rule({"effect": "deny"}), CONDITIONS)])
    )


HEADERS = ("x-env", "x-team", "x-other", "authorization", "dpop", "x-forwarded-client-cert")
CLAIMS = (
    "authorization_details",
    "exp",
    "acr",
    "auth_time",
    "level",
    "org",
    "dept",
    "groups",
    "roles",
    "other",
)
_values = st.sampled_from(["prod", "a", "a,prod", "gold", "b"])
_claim: st.SearchStrategy[object] = st.sampled_from(
    [
        *("gold", "a", NOW - 1, NOW - 99, {"dept": "a"}, ["a", "b"], {}, None, True),
        [{"type": TYPE, "actions": ["tools/call"], "identifier": "pay", "arguments": {"a": 1}}],
        [{"type": TYPE, "actions": ["GET"], "identifier": "/x"}],
    ]
)
_marks: st.SearchStrategy[dict[str, object]] = st.sampled_from(
    [{}, {}, {"hasgroups": True}, {"_claim_names": {"level": "s"}}]
)
_calls = [
    Call("tools/call", CallKind.TOOL, "pay"),
    Call("tools/call", CallKind.TOOL, "pay", arguments=b'{"a":1}'),
    Call("tools/call", CallKind.TOOL, ""),
    Call("SendMessage", CallKind.SKILL, "pay"),
    Call("chat/completions", CallKind.MODEL, "m"),
]


@st.composite
def requests(draw: st.DrawFn) -> Request:
    """Draw requests with any of the headers."""
    headers = draw(st.dictionaries(st.sampled_from(HEADERS), _values))
    return Request("GET", "h", "/x", tuple(sorted(headers.items())))


@st.composite
def delegations(draw: st.DrawFn) -> Delegation:
    """Draw delegations with any of the claims."""
    claims = {**draw(st.dictionaries(st.sampled_from(CLAIMS), _claim)), **draw(_marks)}
    actors = (Actor(ISSUER, AGENT), Actor(ISSUER, EARLIER))[: draw(st.integers(1, 2))]
    scopes = frozenset(draw(st.sets(st.sampled_from("ab"))))
    subject = draw(st.sampled_from(["alice", "spiffe://td/x"]))
    return Delegation(ISSUER, subject, actors, scopes, NOW - 30, NOW + 600, claims=claims)


@st.composite
def operations(draw: st.DrawFn) -> Operation:
    """Draw plain operations, and calls of each protocol."""
    protocol = draw(st.sampled_from(MessageProtocol))
    call = draw(st.sampled_from(_calls)) if protocol else None
    return Operation("GET", "h", ("x",), protocol=protocol, call=call)


def compiled_rule(keys: Mapping[str, Any]) -> Rule:
    """Compile the rule with these keys."""
    return Rule.of("g/0", rule(keys), CONDITIONS)


def question(
    request: Request, delegation: Delegation, operation: Operation, reads: Reads
) -> PolicyQuery:
    """Make a question to a part that declares these reads."""
    case = PolicyQuery(Agent(SpiffeId.parse(AGENT)), delegation, operation, request, NOW)
    case.declared = reads
    return case
