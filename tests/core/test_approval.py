"""Approvals of calls: elements as issuers write them, compared with calls as agents make them."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.core.approval import Approval, ApprovalError, elements_of, name_call, same_json
from authz.core.request import Call, CallKind, MessageProtocol, Operation
from authz.core.strict_json import loads
from support.messages import JSON, respelled

TYPE = "https://corp.example/authz/call"
RESOURCE = "https://mcp.corp.example/trips"
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(-1e12, 1e12)
    | st.sampled_from([0, 0.0, 1, 1.0, 620, 620.0, "620", "", 2**53, 2**53 + 1, 2.0**53, 1e300])
    | st.text(max_size=4)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


def operation(arguments: bytes = b"{}", name: str = "book", kind: CallKind = CallKind.TOOL) -> Any:
    """A call of a tool."""
    call = Call("tools/call", kind, name, arguments=arguments)
    return Operation("POST", "h", ("mcp",), protocol=MessageProtocol.MCP, call=call)


def element(**changes: Any) -> dict[str, Any]:
    """An element that approves the call without arguments."""
    made = {"type": TYPE, "actions": ["tools/call"], "identifier": "book"}
    return {name: value for name, value in (made | changes).items() if value is not None}


def in_words(value: Any) -> Any:
    """The independent model: JSON as tagged data, numbers as exact decimals."""
    if isinstance(value, dict):
        return "object", sorted((name, in_words(child)) for name, child in value.items())
    if isinstance(value, list):
        return "list", [in_words(child) for child in value]
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return type(value).__name__, str(value)
    if isinstance(value, float) and abs(value) >= 2**53:
        return "unsure", ""
    return "number", str(Decimal(value).normalize() + 0)


def is_unsure(value: Any) -> bool:
    """Whether a number of it is beyond what floating-point numbers hold exactly."""
    if isinstance(value, dict | list):
        return any(map(is_unsure, value.values() if isinstance(value, dict) else value))
    return isinstance(value, float) and abs(value) >= 2**53


@settings(max_examples=150)
@given(VALUES, VALUES)
def test_values_are_the_same_as_in_the_model(first: Any, second: Any) -> None:
    """Two values are the same exactly if the model writes them alike, and is sure of both."""
    for one, other in ((first, second), (first, json.loads(json.dumps(first)))):
        is_sure = not is_unsure(one) and not is_unsure(other)
        assert same_json(one, other) is (is_sure and in_words(one) == in_words(other))
        assert same_json(one, other) is same_json(other, one)


@settings(max_examples=80)
@given(st.data(), st.dictionaries(st.text(max_size=6), JSON, max_size=4))
def test_an_element_survives_other_writers(data: st.DataObject, arguments: dict[str, Any]) -> None:
    """What the refusal asks for approves the call, however issuer and agent write their JSON."""
    call = name_call(operation(json.dumps(arguments).encode()), RESOURCE, None)
    asked = loads(respelled(data.draw, loads(call.element(TYPE))))
    again = name_call(operation(respelled(data.draw, arguments)), RESOURCE, None)
    if is_unsure(arguments):
        with pytest.raises(ApprovalError):
            Approval.read(asked).check(again, 1.0)
    else:
        Approval.read(asked).check(again, 1.0)


def said_of(value: Any) -> str:
    """The representation of an approval, or why it is none."""
    try:
        return repr(Approval.read(value))
    except ApprovalError as error:
        return str(error)


@settings(max_examples=100)
@given(VALUES, st.dictionaries(st.sampled_from(sorted({*element(), "exp", "jti"})), VALUES))
def test_no_element_is_too_odd_to_be_refused(odd: Any, changes: dict[str, Any]) -> None:
    """Whatever an issuer writes, it is read as an approval or refused, and quotes nothing."""
    for each in (odd, element() | changes):
        assert said_of(each).startswith(("Approval(type=", "its ", "it ", "an element"))


def test_the_same_content_is_one_approval() -> None:
    """However it is written: else a token that has it twice would approve two calls."""
    written = [
        element(actions=["a", "b"], locations=["l", "m"], arguments={"x": [620, {"y": 0}]}),
        element(actions=["b", "a"], locations=["m", "l"], arguments={"x": [620.0, {"y": -0.0}]}),
        element(actions=["b", "a", "a"], locations=["l", "m"], arguments={"x": [6.2e2, {"y": 0}]}),
    ]
    assert len({Approval.read(each).digest for each in written}) == 1
    bare = [element(), element(arguments={})]
    assert len({Approval.read(each).digest for each in bare}) == 1
    others = [
        *(written[0], bare[0], element(arguments={"x": True}), element(arguments={"x": 1})),
        *(element(arguments={"x": 1.5}), element(locations=["l"]), element(identifier="")),
        *(element(arguments={"x": "1"}), element(arguments={"x": 2**60}), element(actions=["l"])),
    ]
    assert len({Approval.read(each).digest for each in others}) == len(others)


def test_what_can_not_be_named() -> None:
    """A call whose arguments or target can't be read is approved by nothing."""
    for unreadable in (b"", b"[]", b'{"a":1,"a":2}', b"{"):
        with pytest.raises(ApprovalError, match="can't be read"):
            name_call(operation(unreadable), "", None)
        assert name_call(operation(unreadable), "", ()).arguments == {}
    with pytest.raises(ApprovalError, match="target"):
        name_call(operation(name=""), "", ())
    with pytest.raises(ApprovalError, match="lacks amount"):
        name_call(operation(b'{"Amount":1}'), "", ("amount",))
    plain = Operation("DELETE", "h", ("a/b", "7"))
    assert name_call(plain, "", ()).identifier == "/a%2Fb/7"
    with pytest.raises(ApprovalError, match="no message"):
        name_call(plain, "", None)


def test_locations_and_actions() -> None:
    """One of several is enough; without locations any resource will do, but not the other way."""
    call = name_call(operation(), RESOURCE, None)
    nowhere = name_call(operation(), "", None)
    several = element(locations=["https://x.example", RESOURCE], actions=["a", "tools/call"])
    Approval.read(several).check(call, 1.0)
    Approval.read(element()).check(nowhere, 1.0)
    with pytest.raises(ApprovalError, match="resource"):
        Approval.read(several).check(nowhere, 1.0)
    with pytest.raises(ApprovalError, match="resource"):
        Approval.read(element(locations=[""])).check(call, 1.0)


def test_how_long_it_lasts() -> None:
    """With an end of its own, it is good until then."""
    own = Approval.read(element(jti="a", iat=10, exp=20))
    call = name_call(operation(), "", None)
    own.check(call, 19.9)
    with pytest.raises(ApprovalError, match="ended"):
        own.check(call, 20.0)
    later = Approval.read(element(jti="a", iat=1000, exp=2000))
    later.check(call, 880.0)
    with pytest.raises(ApprovalError, match="future"):
        later.check(call, 879.9)


@pytest.mark.parametrize("claim", [None, "x", {}, 7, [[]], [None], [{"type": "other"}]])
def test_claims_without_elements(claim: Any) -> None:
    """A claim of another form has no approvals."""
    assert elements_of({"authorization_details": claim}, TYPE) == []


def test_few_elements_are_looked_at() -> None:
    """Those beyond the limit approve nothing."""
    claim = [{"type": "other"}] * 16 + [element()]
    assert elements_of({"authorization_details": claim}, TYPE) == []
