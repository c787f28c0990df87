"""The types that a condition expects of claims and arguments, found in its syntax tree.

In CEL ``claims.groups == "x"`` is false if the groups are numbers, and ``"x" in claims.groups`` if
they are objects: so another way of writing a claim or an argument would lift a deny. Here, a
comparison with a value of another type has no value.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from authz._pb.cel_ast_pb2 import CheckedExpr, Expr, Type
from authz.core.conditions.syntax_tree import child_nodes
from authz.core.conditions.variables import ARGUMENTS, CLAIMS


class Step(Enum):
    """A step from a value to several within it, whatever their names."""

    EACH = "[]"  # in a loop: elements of a list, names of an object
    ANY = "[?]"  # by a computed index: elements of a list, values of an object


Path = tuple[str | Step, ...]
"""A variable, and the steps from it."""
Paths = tuple[Path, ...]
Scope = Mapping[str, Paths]
"""The paths of which each loop's variable is an element."""
_UNTYPED: Final = (CLAIMS, ARGUMENTS)
_PRIMITIVES: Final = {
    Type.BOOL: "bool",
    Type.INT64: "number",
    Type.UINT64: "number",
    Type.DOUBLE: "number",
    Type.STRING: "string",
    Type.BYTES: "bytes",
}
_CONTAINERS: Final = {"list_type": "list", "map_type": "object"}
_EQUALS: Final = ("_==_", "_!=_")
_NULL: Final = "null"


@dataclass(frozen=True, slots=True)
class Compared:
    """A part of a claim or an argument that is compared, and the types that it is compared with.

    Attributes:
        path: where the part is, from its variable.
        kinds: the expected types.
        texts: the texts that are searched among the names, if the part is an object.
    """

    path: Path
    kinds: frozenset[str]
    texts: frozenset[str] = frozenset()

    def fits(self, value: object) -> bool:
        """Tell whether everything at the path, in its variable's value, has an expected type.

        A missing part fits: reading it fails anyway, or the condition tests it with ``has``.
        """
        return self._fits(value, self.path[1:])

    def _fits(self, value: object, path: Path) -> bool:
        if not path:
            return _kind(value) in self.kinds
        step, rest = path[0], path[1:]
        if isinstance(step, str):
            is_there = isinstance(value, dict) and step in value
            return not is_there or self._fits(value[step], rest)  # type: ignore[index] # a dict
        if isinstance(value, dict) and step is Step.EACH and not rest:
            # An object with the text in a value, as in SCIM, is not a set of names.
            return "string" in self.kinds and not (
                self.texts.isdisjoint(value) and _holds(list(value.values()), self.texts)
            )
        if isinstance(value, dict) and step is Step.ANY:
            value = list(value.values())
        return not isinstance(value, list | dict) or all(self._fits(item, rest) for item in value)


def _holds(values: list[object], texts: frozenset[str]) -> bool:
    """Tell whether any of the texts is among values, or nested in them."""
    return bool(texts) and any(
        (isinstance(item, str) and item in texts)
        or (isinstance(item, list) and _holds(item, texts))
        or (isinstance(item, dict) and _holds(list(item.values()), texts))
        for item in values
    )


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "list" if isinstance(value, list) else "object" if isinstance(value, dict) else _NULL


def compared_in(tree: CheckedExpr) -> tuple[Compared, ...]:
    """Return the parts of claims and arguments that a condition compares.

    Parts whose ``type`` it tests itself are left out; parts that it compares with null may be null.
    """
    return _ComparisonFinder(tree).compared()


class _ComparisonFinder:
    """Walks a condition's tree once, and collects its comparisons."""

    def __init__(self, tree: CheckedExpr) -> None:
        self._types = tree.type_map
        self._found: list[Compared] = []
        self._left: set[Path] = set()
        self._nullable: set[Path] = set()
        self._walk(tree.expr, {})

    def compared(self) -> tuple[Compared, ...]:
        found = [compared for compared in self._found if compared.path not in self._left]
        nulls = {path: frozenset([_NULL]) for path in self._nullable}
        return tuple(
            dict.fromkeys(
                Compared(
                    compared.path,
                    compared.kinds | nulls.get(compared.path, frozenset()),
                    compared.texts,
                )
                for compared in found
            )
        )

    def _walk(self, node: Expr, scope: Scope) -> None:
        call, loop = node.call_expr, node.comprehension_expr
        if call.function in _EQUALS:
            self._equal(call.args[0], call.args[1], scope)
        elif call.function == "@in":
            self._within(call.args[0], call.args[1], scope)
        elif call.function == "type":
            self._left.update(self._paths(call.args[0], scope))
        for child in child_nodes(node):
            self._walk(child, scope)
        if loop.iter_var:
            self._walk(loop.iter_range, scope)
            over = self._paths(loop.iter_range, scope)
            inside = {**scope, loop.iter_var: tuple((*path, Step.EACH) for path in over)}
            for part in (loop.loop_condition, loop.loop_step, loop.result):
                self._walk(part, inside)

    def _equal(self, left: Expr, right: Expr, scope: Scope) -> None:
        for this, that in ((left, right), (right, left)):
            paths = self._paths(this, scope)
            if _is_null(that):
                self._nullable.update(paths)
            self._add(paths, self._kinds(that), _texts([that]))
            self._add_elements(paths, that)
        for this, that in zip(left.list_expr.elements, right.list_expr.elements, strict=False):
            self._equal(this, that, scope)

    def _within(self, element: Expr, container: Expr, scope: Scope) -> None:
        """Add the comparisons of ``element in container``."""
        over = tuple((*path, Step.EACH) for path in self._paths(container, scope))
        self._add(over, self._kinds(element), _texts([element]))
        listed = container.list_expr.elements
        named = [entry.map_key for entry in container.struct_expr.entries]
        paths = self._paths(element, scope)
        self._add(paths, self._element_kinds(container), _texts([*listed, *named]))
        for item in listed:
            self._add(self._paths(item, scope), self._kinds(element), frozenset())
            self._add_elements(paths, item)

    def _add_elements(self, paths: Paths, other: Expr) -> None:
        """Add the comparison with each element of a list that is written out."""
        if other.WhichOneof("expr_kind") == "list_expr":
            kinds = self._element_kinds(other)
            self._add(tuple((*path, Step.EACH) for path in paths), kinds, frozenset())

    def _add(self, paths: Paths, kinds: frozenset[str], texts: frozenset[str]) -> None:
        known = (path for path in paths if len(path) > 1 and kinds)
        self._found += [Compared(path, kinds, texts) for path in known]

    def _paths(self, node: Expr, scope: Scope) -> Paths:
        """Return the paths of a node's value; empty if it is not part of claims or arguments."""
        kind, call = node.WhichOneof("expr_kind"), node.call_expr
        if kind == "ident_expr":
            name = node.ident_expr.name
            return scope.get(name, ((name,),) if name in _UNTYPED else ())
        if kind == "select_expr" and not node.select_expr.test_only:
            of = self._paths(node.select_expr.operand, scope)
            return tuple((*path, node.select_expr.field) for path in of)
        if call.function == "_[_]":
            return self._indexed(call.args[0], call.args[1], scope)
        parts: Sequence[Expr] = ()
        if call.function == "_?_:_":
            parts = call.args[1:]
        elif call.function == "_+_":
            parts = call.args
        return tuple(path for part in parts for path in self._paths(part, scope))

    def _indexed(self, of: Expr, at: Expr, scope: Scope) -> Paths:
        """Return the paths of ``of[at]``; for a computed index those of all elements."""
        values = [*of.list_expr.elements, *(entry.value for entry in of.struct_expr.entries)]
        if values:
            return tuple(path for value in values for path in self._paths(value, scope))
        name = at.const_expr.string_value
        paths = self._paths(of, scope)
        if name:
            return tuple((*path, name) for path in paths)
        return tuple((*path, Step.ANY) for path in paths if len(path) > 1)

    def _kinds(self, node: Expr) -> frozenset[str]:
        """Return the type of a node's value; empty if unknown."""
        return _kinds_of(self._types[node.id]) if node.id in self._types else frozenset()

    def _element_kinds(self, node: Expr) -> frozenset[str]:
        """Return the types of a list's elements, or of an object's names; empty if unknown."""
        kinds = [self._kinds(element) for element in node.list_expr.elements]
        if kinds:
            return frozenset[str]().union(*kinds) if all(kinds) else frozenset()
        if node.id not in self._types:
            return frozenset()
        known = self._types[node.id]
        return _kinds_of(known.map_type.key_type) or _kinds_of(known.list_type.elem_type)


def _kinds_of(known: Type) -> frozenset[str]:
    kind = known.WhichOneof("type_kind") or ""
    found = _PRIMITIVES.get(known.primitive) if kind == "primitive" else _CONTAINERS.get(kind)
    return frozenset([found] if found else [])


def _is_null(node: Expr) -> bool:
    is_constant = node.WhichOneof("expr_kind") == "const_expr"
    return is_constant and node.const_expr.WhichOneof("constant_kind") is None


def _texts(nodes: Sequence[Expr]) -> frozenset[str]:
    """Return the texts among the nodes that are written out."""
    return frozenset([node.const_expr.string_value for node in nodes]) - {""}
