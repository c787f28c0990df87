"""Conditions that compare claims and arguments with values of another type: they have no value."""

from typing import Any, Final

import pytest

from authz.core.request import Call
from support.condition_facts import facts, failure, holds

OTHER_TYPES: Final[list[tuple[str, dict[str, Any]]]] = [
    ('claims.level == "3"', {"level": 3}),
    ('claims.level != "3"', {"level": 3}),
    ('"3" == claims.level', {"level": 3}),
    ("claims.level == 3", {"level": "3"}),
    ("claims.level == 3", {"level": True}),
    ("claims.left == true", {"left": "true"}),
    ("claims.left == true", {"left": 1}),
    ('claims["left"] == "x"', {"left": None}),
    ('claims.region in ["eu", "us"]', {"region": ["eu"]}),
    ("claims.level in [1, 2.5]", {"level": "1"}),
    ('"x" in claims.groups', {"groups": [{"value": "x"}]}),
    ('"x" in claims.groups', {"groups": ["y", 5]}),
    ('"x" in claims.groups', {"groups": [["x"]]}),
    ("5 in claims.groups", {"groups": ["5"]}),
    ('claims.groups.exists(g, g == "x")', {"groups": [{"value": "x"}]}),
    ('claims.groups.all(g, g != "x")', {"groups": ["y", 5]}),
    ('claims.groups.exists_one(g, g == "x")', {"groups": ["x", ["x"]]}),
    ('claims.org.unit == "eu"', {"org": {"unit": ["eu"]}}),
    ('"x" in claims.realm.roles', {"realm": {"roles": [{}]}}),
    ('claims.details.exists(d, d.type == "x")', {"details": [{"type": ["x"]}]}),
    ('claims.details.exists(d, d.can.exists(c, c == "w"))', {"details": [{"can": [{"w": 1}]}]}),
    ("claims.groups[0] == 5", {"groups": ["5"]}),
    ('claims.groups == ["x"]', {"groups": "x"}),
    ("claims.owner == principal.id", {"owner": ["alice"]}),
    ("principal.id in claims.owners", {"owners": [{"id": "alice"}]}),
    ("claims.scope in delegation.scopes", {"scope": 5}),
    ("claims.level == int(request.segments[1])", {"level": "17"}),
    # Through what stands between a claim and its comparison.
    ('"x" in (has(claims.groups) ? claims.groups : [])', {"groups": [{"value": "x"}]}),
    ('"x" in (has(claims.other) ? claims.other : claims.groups)', {"groups": [5]}),
    ('"x" in claims.groups + claims.roles', {"groups": ["y"], "roles": [{"value": "x"}]}),
    ('"x" in claims.groups + []', {"groups": [["x"]]}),
    ('"x" in [claims.groups][0]', {"groups": [{"value": "x"}]}),
    ('"x" in {"a": claims.groups}["a"]', {"groups": [{"value": "x"}]}),
    ('claims.org[principal.id] == "x"', {"org": {"alice": ["x"]}}),
    ('claims.groups[size(claims.groups) - 1] == "x"', {"groups": ["y", {"value": "x"}]}),
    ('claims.level == (claims.left == true ? "a" : "b")', {"level": ["a"], "left": True}),
    ("principal.id in [claims.owner, claims.deputy]", {"owner": "bob", "deputy": ["alice"]}),
    ('claims.tenant == request.headers["x-tenant"]', {"tenant": ["blue"]}),
    ("claims.segment == request.segments[0]", {"segment": ["orders"]}),
    ("claims.admin == (size(request.segments) == 2)", {"admin": "true"}),
    ('claims.groups == ["x"]', {"groups": [{"value": "x"}]}),
    ('claims.groups != ["x"]', {"groups": [["x"]]}),
    ('claims.groups in [["x"], ["y"]]', {"groups": [{"value": "x"}]}),
    ('[claims.level] == ["3"]', {"level": 3}),
    # One object in place of a list, which says it in a value.
    ('"x" in claims.groups', {"groups": {"value": "x"}}),
    ('"x" in claims.groups', {"groups": {"id": 7, "more": [{"name": "x"}]}}),
    ('claims.groups.exists(g, g == "x")', {"groups": {"value": "x"}}),
    ('claims.groups.exists(g, g in ["x", "z"])', {"groups": {"value": ["y", "z"]}}),
    ('claims.groups.exists(g, g in {"x": true})', {"groups": {"value": "x"}}),
    ('claims.realm.roles.all(r, r != "x")', {"realm": {"roles": {"value": "x"}}}),
]


@pytest.mark.parametrize(("text", "claims"), OTHER_TYPES, ids=repr)
def test_claims_of_another_type(text: str, claims: dict[str, Any]) -> None:
    """A comparison with a claim of another type has no value, and its negation neither."""
    assert "another type" in failure(text, facts(claims))
    assert "another type" in failure(f"!({text})", facts(claims))


SAME_TYPES: Final[list[tuple[str, dict[str, Any], bool]]] = [
    ("claims.level == 3", {"level": 3.0}, True),
    ("claims.level == 3.0", {"level": 4}, False),
    ('"x" in claims.groups', {"groups": []}, False),
    ('"x" in claims.groups', {"groups": {"x": {"more": 1}}}, True),
    ('"x" in claims.groups', {"groups": {"y": 1}}, False),
    ('claims.level in ["3", 3]', {"level": "3"}, True),
    ('claims.level in ["3", 3]', {"level": 4}, False),
    ("claims.none == null", {"none": 5}, False),
    ("claims.none == null", {"none": None}, True),
    ('has(claims.region) && claims.region == "eu"', {}, False),
    ("type(claims.level) == int && claims.level == 3", {"level": "3"}, False),
    (
        'claims.details.exists(d, has(d.type) && d.type == "x")',
        {"details": [{}, {"type": "x"}]},
        True,
    ),
    ("claims.level == claims.other", {"level": 3, "other": "3"}, False),
    ('"x" in (has(claims.groups) ? claims.groups : [])', {}, False),
    ('"x" in claims.groups', {"groups": {"y": "z"}}, False),
    ('"x" in claims.groups', {"groups": {"x": "x"}}, True),
    ('claims.none != null && claims.none == "x"', {"none": None}, False),
    ('claims.none != null && claims.none == "x"', {"none": "x"}, True),
    ("has(claims.level) == true", {"level": "3"}, True),
    ('claims.groups.exists(g, type(g) == string && g == "x")', {"groups": [5, "x"]}, True),
    ('claims.groups == ["x"]', {"groups": ["y", "x"]}, False),
    ("claims.groups == []", {"groups": [{}]}, False),
    ('claims.org[principal.id] == "x"', {"org": {"alice": "x", "bob": "y"}}, True),
    ('claims[principal.id] == "x"', {"alice": "x", "level": 5}, True),
    ('claims.first + claims.last == "ab"', {"first": "a", "last": "b"}, True),
]


@pytest.mark.parametrize(("text", "claims", "expected"), SAME_TYPES, ids=repr)
def test_claims_of_the_same_type(
    text: str,
    claims: dict[str, Any],
    expected: bool,  # noqa: FBT001 - a table
) -> None:
    """What is of the type, is not there, or whose type is asked for or not known, is as ever."""
    assert holds(text, facts(claims)) is expected


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ('operation.arguments.to == "mallory"', b'{"to": ["mallory"]}'),
        ('"mallory" in operation.arguments.to', b'{"to": [{"name": "mallory"}]}'),
        ('operation.arguments.to.exists(t, t == "mallory")', b'{"to": [["mallory"]]}'),
        ("operation.arguments.amount == 5", b'{"amount": "5"}'),
    ],
)
def test_arguments_of_another_type(text: str, arguments: bytes) -> None:
    """A client that writes an argument as another type does not get by what looks at it."""
    call = Call("tools/call", "tool", "pay", arguments=arguments)

    assert "another type" in failure(text, facts(call=call))
