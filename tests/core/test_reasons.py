"""Reasons: a closed list, each of which some check gives."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import authz
from authz.core.reason import Reason

SOURCES = Path(authz.__file__).parent


def _given(node: ast.AST) -> Iterator[str]:
    """Names of the reasons that code gives; what it only compares with is given elsewhere."""
    if isinstance(node, ast.Compare):
        return
    if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "Reason":
        yield node.attr
    for child in ast.iter_child_nodes(node):
        yield from _given(child)


def _givers() -> dict[str, set[Path]]:
    """For each reason that is given, the modules that do; ``review`` speaks of them only."""
    found = defaultdict(set)
    for path in SOURCES.rglob("*.py"):
        if path.name != "reason.py" and not path.is_relative_to(SOURCES / "review"):
            for name in _given(ast.parse(path.read_text())):
                if name.isupper():
                    found[name].add(path)
    return found


def test_every_reason_is_given() -> None:
    """No reason is on the reference page that nothing in the code raises."""
    assert set(_givers()) == {reason.name for reason in Reason}


def test_codes_are_the_names_of_members() -> None:
    """Who reads a code in a record finds it in the source."""
    assert [reason.code for reason in Reason] == [reason.name.lower() for reason in Reason]


def test_reasons_of_one_protocol_are_given_by_it_alone() -> None:
    """A code that begins with mcp_ is no answer to a message of another protocol."""
    for name, givers in _givers().items():
        if name.startswith("MCP_"):
            assert {path.name.partition("_")[0].removesuffix(".py") for path in givers} == {"mcp"}
