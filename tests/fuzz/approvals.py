"""Approvals fuzzed: authorization_details as issuers and attackers write them, and calls.

A call is refused, or ``approval_reference`` finds an element that names it; and an approval that
may be used once has one name, however it is written.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from hypothesis import strategies as st

from authz.core.decision import Actor, Agent, Delegation
from authz.core.policy.approval_settings import ApprovalSettings
from authz.core.policy.approved import Approved
from authz.core.policy.query import PolicyQuery
from authz.core.request import Call, CallKind, MessageProtocol, Operation, Request
from authz.core.spiffe import SpiffeId
from authz.core.step_up import StepUp
from authz.core.strict_json import StrictJsonError, loads
from fuzz import approval_reference
from fuzz.choices import Choices
from lab.mesh import ISSUER, TRAVEL
from support.messages import JSON, respelled

Draw = Callable[..., Any]
Mutate = Callable[[Draw, bytes], bytes]
Members = dict[str, Any]

NOW: Final = 1_790_000_000
TYPE: Final = "https://corp.example/authz/call"
RESOURCE: Final = "https://mcp.corp.example/trips"
_NUMBERS: Final = (
    620,
    620.0,
    6.2e2,
    "620",
    620.5,
    621,
    -0.0,
    0,
    True,
    1,
    1.0,
    2**53,
    2.0**53,
    1e300,
)
_VALUES: Final[tuple[Any, ...]] = (
    *_NUMBERS,
    None,
    "T-17",
    "t-17",
    "T-17\0",
    "\u00e9",
    "e\u0301",
    [],
    {},
    [620],
    {"a": 1},
)
_NAMES: Final = ("amount", "trip", "Amount", "to", "")
_ODD: Final[tuple[Any, ...]] = (
    *_VALUES,
    ["tools/call"],
    [RESOURCE],
    "book",
    TYPE,
    [""],
    [["tools/call"]],
    ["x"] * 17,
)
_PATHS: Final = (("trips", "7"), ("a/b", "7"), ("a%2Fb", "7"), ("",), ("a", ""), ("a?b#c%",))


class Asked(NamedTuple):
    """A call, the token's claim as JSON, and the rule: its arguments, and if it is for once."""

    operation: Operation
    resource: str
    claim: bytes
    names: tuple[str, ...] | None
    once: bool
    token_id: str = "j"


class Answer(NamedTuple):
    """Whether the call is approved; then the name of the approval's use, None without one."""

    is_approved: bool
    use: bytes | None = None


Approve = Callable[[Asked], Answer]


def approve(asked: Asked) -> Answer:
    """Ask the rule's requirement, as policy does of a verified token."""
    settings = ApprovalSettings(type=TYPE, arguments=asked.names, once=asked.once)
    rule = Approved.of(settings, StepUp((), None))
    try:
        claims = loads(b'{"exp":%d,"authorization_details":%s}' % (NOW + 60, asked.claim))
    except StrictJsonError:
        return Answer(is_approved=False)
    assert isinstance(claims, dict)
    by = Delegation(
        *(ISSUER, "alice", (Actor(ISSUER, TRAVEL),), frozenset(), NOW - 9.0, NOW + 60.0),
        asked.token_id,
        claims=claims,
    )
    query = PolicyQuery(
        Agent(SpiffeId.parse(TRAVEL)),
        by,
        asked.operation,
        Request("POST", "h", "/"),
        float(NOW),
        resource=asked.resource,
    )
    rule.request(query)  # what a refused client may ask for: it raises for nothing
    unmet = rule.unmet(query)
    if unmet is not None:
        assert unmet.text
        return Answer(is_approved=False)
    rule.stable_until(query)
    use = rule.use(query)
    return Answer(is_approved=True, use=use.key if use else None)


def check(approve: Approve, draw: Draw, mutate: Mutate) -> tuple[str, str]:
    """Ask about one drawn call: the answer, and what is wrong with it."""
    r = Choices.of(draw(st.integers(0, 2**64)))
    arguments = {name: r.choice(_VALUES) for name in r.sample(_NAMES, r.randint(0, 3))}
    if draw(st.integers(0, 7)) == 7:
        arguments["any"] = draw(JSON)
    operation, resource = _operation(r, draw, arguments), r.choice([RESOURCE, RESOURCE, ""])
    some = tuple(filter(None, arguments))
    names = r.choice([None, None, (), some, some[:1], ("amount",)])
    elements = _claim(r, operation, resource, arguments, names)
    claim = respelled(draw, elements) if r.random() < 0.5 else json.dumps(elements).encode()
    if draw(st.integers(0, 7)) == 7:
        claim = mutate(draw, claim)
    asked = Asked(operation, resource, claim, names, once=r.random() < 0.5)
    try:
        answer = approve(asked)
        return _named(answer), _wrong(approve, draw, asked, answer)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is wrong
        return "", f"{type(error).__name__}: {error} for {asked}"


def _named(answer: Answer) -> str:
    return "approved" if answer.is_approved else "refused"


def _wrong(approve: Approve, draw: Draw, asked: Asked, answer: Answer) -> str:
    """What is wrong with an answer; "" for nothing."""
    if not answer.is_approved:
        return ""
    fits = approval_reference.fitting(asked, TYPE, NOW)
    if not fits:
        return f"approved {asked}"
    if (answer.use is None) is asked.once:
        return f"once is {asked.once} and its use {answer.use!r}: {asked}"
    return _wrong_use(approve, draw, asked, answer, fits[0]) if asked.once else ""


def _wrong_use(approve: Approve, draw: Draw, asked: Asked, answer: Answer, element: Members) -> str:
    """An approval has one name however it is written; without its own jti it has its token's."""
    claim = json.loads(asked.claim)
    again = approve(asked._replace(claim=respelled(draw, claim)))
    if answer != again:
        return f"another use when it is respelled: {asked}"
    other = approve(asked._replace(token_id="another"))
    if (other.use == answer.use) is not ("jti" in element):
        return f"the use {other.use!r} of another token, after {answer.use!r}: {asked}"
    return ""


def _operation(r: Choices, draw: Draw, arguments: Members) -> Operation:
    if r.random() < 0.2:
        return Operation("DELETE", "h", r.choice(_PATHS))
    data = respelled(draw, arguments) if r.random() < 0.5 else json.dumps(arguments).encode()
    if r.is_odd(0.1):
        data = r.choice([b"", b"[]", b"{", data[:-1] + b',"amount":1,"amount":2}', data + b"x"])
    method = r.nearly(["tools/call"], ["prompts/get", "tools/list", ""])
    kind = r.nearly([CallKind.TOOL], [CallKind.PROMPT, CallKind.SERVER])
    call = Call(method, kind, r.nearly(["book"], ["Book", "", "bo\u200bok"]), arguments=data)
    return Operation("POST", "h", ("mcp",), protocol=MessageProtocol.MCP, call=call)


def _claim(
    r: Choices,
    operation: Operation,
    resource: str,
    arguments: Members,
    names: Sequence[str] | None,
) -> Any:
    """Return authorization_details: an element that is good or nearly so, and others around it."""
    if r.is_odd(0.1):
        return r.choice(_ODD)
    listed = [_element(r, operation, resource, arguments, names)]
    for _ in range(r.choice([0, 0, 1, 2])):
        other = _element(r, operation, resource, {**arguments, "amount": 9}, names)
        listed.insert(r.randint(0, 1), r.choice([other, {"type": "other"}, *_ODD]))
    return r.nearly([listed], [[{"type": "x"}] * r.choice([14, 15, 16, 17]) + listed])


def _element(
    r: Choices,
    operation: Operation,
    resource: str,
    arguments: Members,
    names: Sequence[str] | None,
) -> Members:
    call = operation.call
    given = arguments if names is None else {n: arguments[n] for n in names if n in arguments}
    path = "/" + "/".join(operation.path)
    made: Members = {
        "type": TYPE,
        "actions": [call.method if call else operation.method],
        "identifier": call.name if call else r.choice([path, path.replace("a/b", "a%2Fb")]),
    }
    if given and (call or r.is_odd(0.2)):
        made["arguments"] = dict(given)
    if resource and r.random() < 0.5:
        made["locations"] = r.nearly([[resource], ["x", resource]], [["x"], [], resource, [7]])
    if r.random() < 0.3:
        made |= {"jti": "own", "iat": NOW - 5, "exp": NOW + r.nearly([5, 0.5], [0, -1, 10**9])}
    for _ in range(r.nearly([0], [1, 1, 2], 0.5)):
        _change(r, made)
    return made


def _change(r: Choices, made: Members) -> None:
    how = r.choice(["drop", "odd", "more", "argument", "name"])
    if how == "drop":
        made.pop(r.choice(list(made)))
    elif how == "odd":
        made[r.choice([*made, "jti", "iat", "exp"])] = r.choice(_ODD)
    elif how == "more":
        made[r.choice(["privileges", "datatypes", "Type", "limit"])] = r.choice(_ODD)
    elif isinstance(made.get("arguments"), dict):
        arguments: Members = made["arguments"]
        if how == "name" and arguments:
            arguments.pop(r.choice(list(arguments)))
        else:
            arguments[r.choice([*arguments, *_NAMES])] = r.choice(_VALUES)
