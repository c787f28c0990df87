"""Policies of rules on paths, and questions about them."""

from hypothesis import strategies as st

from authz.core.decision import Actor, Agent, Delegation
from authz.core.policy import AgentSettings, PrincipalMatch, PrincipalSettings, RuleSettings
from authz.core.policy.policy import Policy
from authz.core.policy.query import PolicyQuery
from authz.core.reason import Denied
from authz.core.request import Operation, Request
from authz.core.spiffe import SpiffeId

AGENT = "spiffe://td/a"
ISSUER = "https://as.example"


def rule(paths: str, *scopes: str, host: str = "h", method: str = "GET") -> RuleSettings:
    """Make a rule for some paths."""
    return RuleSettings(hosts=(host,), methods=(method,), paths=tuple(paths.split()), scopes=scopes)


def policy(
    agent: tuple[RuleSettings, ...], principal: tuple[RuleSettings, ...], **match: object
) -> Policy:
    """Make a policy of an agent and a kind of principal."""
    return Policy(
        [AgentSettings(id=AGENT, grants=("a",))],
        [PrincipalSettings(match=PrincipalMatch(issuer=ISSUER, **match), grants=("p",))],  # type: ignore[arg-type]
        {"a": agent, "p": principal},
    )


def delegation(*scopes: str, issuer: str = ISSUER, groups: object = None) -> Delegation:
    """Make a delegation by alice."""
    actors = (Actor(issuer, AGENT),)
    claims = {} if groups is None else {"groups": groups}
    return Delegation(issuer, "alice", actors, frozenset(scopes), 0, 1, claims=claims)


def query(given_: Delegation, operation: Operation, now: float = 0.5) -> PolicyQuery:
    """Make a question by the agent."""
    request = Request(operation.method, operation.host, "/" + "/".join(operation.path))
    return PolicyQuery(Agent(SpiffeId.parse(AGENT)), given_, operation, request, now)


def decide(subject: Policy, path: str, given_: Delegation, method: str = "GET") -> str:
    """Return "allow", or the code of the reason."""
    operation = Operation(method, "h", tuple(path[1:].split("/")))
    try:
        subject.evaluate(query(given_, operation)).permitted()
    except Denied as denied:
        return denied.reason.code
    return "allow"


SEGMENTS = st.lists(st.sampled_from(["a", "b", ""]), min_size=1, max_size=4)
PATTERNS = st.lists(
    st.builds(
        lambda parts, rest: "/" + "/".join([*parts, *(["**"] if rest else [])]),
        st.lists(st.sampled_from(["a", "b", "*", "{x}"]), min_size=1, max_size=3),
        st.booleans(),
    ),
    min_size=1,
    max_size=4,
)


RULES = st.lists(
    st.builds(
        lambda paths, effect: RuleSettings(
            hosts=("h",),
            methods=("GET",),
            paths=tuple(paths),
            scopes=() if effect == "allow" else None,
            effect=effect,
        ),
        PATTERNS,
        st.sampled_from(["allow", "allow", "deny"]),
    ),
    min_size=1,
    max_size=3,
).map(tuple)
