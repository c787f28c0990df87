"""What a condition takes the type of a claim, or of an argument, for: read from its syntax tree.

In CEL ``claims.groups == "x"`` is false where the groups are numbers, and ``"x" in claims.groups``
where they are objects: so an issuer's other way to write a claim, or a client's other way to write
an argument, would lift a deny. What is compared with a value that is of another type has no value
here.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from authz._pb.cel_ast_pb2 import Expr
from authz.conditions.syntax import children
from authz.conditions.variables import ARGUMENTS, CLAIMS, VARIABLES

EACH: Final = None  # a step: each element of a list, or each name of an object
Path = tuple[str | None, ...]
"""Steps from a variable, which is the first."""
Kinds = frozenset[str]
Compared = tuple[Path, Kinds]
_UNTYPED: Final = (CLAIMS, ARGUMENTS)
_CONSTANTS: Final = {
    "bool_value": "bool",
    "int64_value": "number",
    "uint64_value": "number",
    "double_value": "number",
    "string_value": "string",
}
_VARIABLES: Final = {"string": "string", "bool": "bool", "int": "number"}
_LITERALS: Final = {"list_expr": "list", "struct_expr": "object"}
_FUNCTIONS: Final = {"string": "string", "bool": "bool", "int": "number", "double": "number"}
_LISTS: Final = {"list<string>": "string"}
_EQUALS: Final = ("_==_", "_!=_")


def compared_in(tree: Expr) -> tuple[Compared, ...]:
    """Return what of claims and arguments a condition compares, and with values of which types.

    A value whose ``type`` it looks at itself is left to it.
    """
    found = tuple(dict.fromkeys(_compared(tree, {})))
    asked = set(_asked_types(tree))
    return tuple((path, kinds) for path, kinds in found if path not in asked)


def is_of(value: object, path: Path, kinds: Kinds) -> bool:
    """Tell whether all that stands at a path, below a variable's value, is of one of the types.

    What is not there is: to read it fails, or ``has`` was asked.
    """
    if not path:
        return _kind(value) in kinds
    step, rest = path[0], path[1:]
    if step is EACH:
        return not isinstance(value, list | dict) or all(is_of(one, rest, kinds) for one in value)
    return not isinstance(value, dict) or step not in value or is_of(value[step], rest, kinds)


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "list" if isinstance(value, list) else "object" if isinstance(value, dict) else "null"


Scope = Mapping[str, Path | None]
"""Of each loop's variable, of what it is an element."""


def _compared(node: Expr, scope: Scope) -> Iterator[Compared]:
    call, loop = node.call_expr, node.comprehension_expr
    if call.function in _EQUALS:
        for one, other in (call.args, reversed(call.args)):
            yield from _pair(_path(one, scope), _kinds(other))
    elif call.function == "@in":
        element, container = call.args
        within = _path(container, scope)
        yield from _pair(within and (*within, EACH), _kinds(element))
        yield from _pair(_path(element, scope), _element_kinds(container))
    for child in children(node):
        yield from _compared(child, scope)
    if loop.iter_var:
        yield from _compared(loop.iter_range, scope)
        over = _path(loop.iter_range, scope)
        inside = {**scope, loop.iter_var: over and (*over, EACH)}
        for part in (loop.loop_condition, loop.loop_step, loop.result):
            yield from _compared(part, inside)


def _pair(path: Path | None, kinds: Kinds) -> Iterator[Compared]:
    if path is not None and len(path) > 1 and kinds:
        yield path, kinds


def _asked_types(node: Expr) -> Iterator[Path]:
    if node.call_expr.function == "type" and (path := _path(node.call_expr.args[0], {})):
        yield path
    for child in children(node):
        yield from _asked_types(child)


def _path(node: Expr, scope: Scope) -> Path | None:
    """Where a value stands, None for what is no part of claims or arguments."""
    kind, call = node.WhichOneof("expr_kind"), node.call_expr
    if kind == "ident_expr":
        name = node.ident_expr.name
        return scope.get(name, (name,) if name in _UNTYPED else None)
    if kind == "select_expr":
        of = _path(node.select_expr.operand, scope)
        return of and (*of, node.select_expr.field)
    if call.function == "_[_]":
        of, at = _path(call.args[0], scope), call.args[1].const_expr
        steps = {"string_value": at.string_value, "int64_value": EACH}
        kind = at.WhichOneof("constant_kind")
        return (*of, steps[kind]) if of and kind in steps else None
    return None


def _kinds(node: Expr) -> Kinds:
    """The type that is known of a value, none where it isn't."""
    kind = node.WhichOneof("expr_kind")
    if kind == "const_expr":
        found = _CONSTANTS.get(node.const_expr.WhichOneof("constant_kind") or "")
    elif kind == "ident_expr":
        found = _VARIABLES.get(VARIABLES.get(node.ident_expr.name, ("", ""))[0])
    else:
        found = _LITERALS.get(kind or "") or _FUNCTIONS.get(node.call_expr.function)
    return frozenset([found] if found else [])


def _element_kinds(node: Expr) -> Kinds:
    """The types that are known of a list's elements, none unless of all."""
    if node.WhichOneof("expr_kind") == "ident_expr":
        found = _LISTS.get(VARIABLES.get(node.ident_expr.name, ("", ""))[0])
        return frozenset([found] if found else [])
    kinds = [_kinds(one) for one in node.list_expr.elements]
    return frozenset[str]().union(*kinds) if all(kinds) else frozenset()
