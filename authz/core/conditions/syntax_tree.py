"""A condition's checked syntax tree: parsed from the library's serialization, and walked."""

from collections.abc import Iterator

from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError

from authz._pb.cel_ast_pb2 import CheckedExpr, Expr
from authz.core.conditions.cel import ConditionError


def parse_tree(serialized: bytes) -> CheckedExpr:
    """Return the tree, with the types of its nodes. Raises ConditionError."""
    envelope = Any()
    try:
        envelope.ParseFromString(serialized)
        return CheckedExpr.FromString(envelope.value)
    except DecodeError:  # nested deeper than protobuf parses
        raise ConditionError("the condition is nested too deeply") from None


def names_in(node: Expr) -> Iterator[str]:
    """Yield the full names of the variables that a node reads, its loops' own included."""
    if node.WhichOneof("expr_kind") == "ident_expr":
        yield node.ident_expr.name
    for child in (*child_nodes(node), *_parts(node.comprehension_expr)):
        yield from names_in(child)


def members_in(node: Expr) -> Iterator[tuple[str, str]]:
    """Yield the members of variables that a node reads by a literal name: ("claims", "level")."""
    kind = node.WhichOneof("expr_kind")
    call = node.call_expr
    if kind == "select_expr":
        of, name = node.select_expr.operand, node.select_expr.field
    elif call.function == "_[_]":
        of, name = call.args[0], call.args[1].const_expr.string_value
    elif call.function == "@in":
        of, name = call.args[1], call.args[0].const_expr.string_value
    else:
        of, name = node, ""
    if name and of.WhichOneof("expr_kind") == "ident_expr":
        yield of.ident_expr.name, name
    for child in (*child_nodes(node), *_parts(node.comprehension_expr)):
        yield from members_in(child)


def child_nodes(node: Expr) -> Iterator[Expr]:
    """Yield the children of a node; for a loop nothing, since its parts have different roles."""
    kind = node.WhichOneof("expr_kind")
    if kind == "select_expr":
        yield node.select_expr.operand
    elif kind == "call_expr":
        if node.call_expr.HasField("target"):
            yield node.call_expr.target
        yield from node.call_expr.args
    elif kind == "list_expr":
        yield from node.list_expr.elements
    elif kind == "struct_expr":
        for entry in node.struct_expr.entries:
            yield entry.map_key
            yield entry.value


def _parts(loop: Expr.Comprehension) -> Iterator[Expr]:
    if loop.iter_var:
        yield from (loop.iter_range, loop.accu_init, loop.loop_condition)
        yield from (loop.loop_step, loop.result)
