"""The bounds on a condition's cost, checked on its syntax tree when it is loaded.

The library stops a condition after 10,000 steps of ``all`` and ``exists``. But a step may be of any
cost, and holds the interpreter's lock: a condition of 2 KB over a token of 8 KB took two minutes.
So a loop must be short, may use only its own element, short variables and constants, and may
contain no sums nor, two levels deep, patterns. Then all of its steps together read the token once
for each operation in the loop. A pattern is compiled anew at each use: so it must be small, and
smaller in a loop.
"""

import re
from collections.abc import Iterator
from typing import Final

from authz._pb.cel_ast_pb2 import Expr
from authz.core.conditions.cel import RESERVED, ConditionError, is_pattern
from authz.core.conditions.syntax_tree import child_nodes, names_in
from authz.core.conditions.variables import LONG

MAX_NESTED_LOOPS: Final = 2  # authorization_details.exists(d, d.actions.exists(...)) needs two
MAX_LOOP_PARTS: Final = 100  # of all loops together; each takes some 0.2 us a step
MAX_PATTERN_CHARS: Final = 256  # of all patterns together; their cost grows with it
MAX_LOOP_PATTERN_CHARS: Final = 24  # of those in loops; compiling one takes some 10 us a step
MAX_REPETITIONS: Final = 128  # sum of the numbers in braces; the compiled pattern grows with it
_COUNTED: Final = re.compile(r"(.)\{([0-9]*),?([0-9]*)\}")
_UNICODE_CLASS: Final = re.compile(r"\\[pP]")  # of thousands of characters: 3 ms to compile
_MATCHES: Final = "matches"
_PLUS: Final = "_+_"


def check_cost(tree: Expr) -> None:
    """Check a condition's syntax tree against the bounds. Raises ConditionError."""
    _check_patterns(list(_patterns(tree, ())))
    if _loop_parts(tree, is_inside=False) > MAX_LOOP_PARTS:
        raise ConditionError(
            f"all and exists have more than {MAX_LOOP_PARTS} names, values and operators inside"
        )


def _loop_parts(node: Expr, *, is_inside: bool) -> int:
    """Count the nodes that are evaluated again in each step of a loop."""
    loop = node.comprehension_expr
    parts = int(is_inside) + sum(
        _loop_parts(child, is_inside=is_inside) for child in child_nodes(node)
    )
    if not loop.iter_var:
        return parts
    again = sum(_loop_parts(part, is_inside=True) for part in (loop.loop_condition, loop.loop_step))
    return parts + again + _loop_parts(loop.iter_range, is_inside=is_inside)


def _patterns(node: Expr, loops: tuple[str, ...]) -> Iterator[tuple[str, bool]]:
    """Check a node and all below it; ``loops`` are the variables of the loops around it.

    Yields the patterns of ``matches``, and whether each is in a loop. Raises ConditionError.
    """
    kind = node.WhichOneof("expr_kind")
    if kind is None:
        raise ConditionError("the condition has an unsupported kind of expression")
    if kind == "struct_expr" and node.struct_expr.message_name:
        raise ConditionError("a condition must not construct messages")
    if kind == "comprehension_expr":
        yield from _loop(node.comprehension_expr, loops)
        return
    if loops and node.ident_expr.name in LONG:
        raise ConditionError(
            f"all and exists must not use {node.ident_expr.name} inside: only the element, texts"
            " in quotes and short variables; `x in list` needs no loop"
        )
    if node.ident_expr.name in loops[:-1] and node.ident_expr.name != loops[-1]:
        raise ConditionError(
            f"the inner loop must not use {node.ident_expr.name}, the outer loop's element"
        )
    if kind == "call_expr":
        yield from _call(node.call_expr, loops)
    for child in child_nodes(node):
        yield from _patterns(child, loops)


def _loop(loop: Expr.Comprehension, loops: tuple[str, ...]) -> Iterator[tuple[str, bool]]:
    if loop.iter_var in RESERVED:
        raise ConditionError(f"{loop.iter_var} is a reserved name: call the element something else")
    if len(loops) == MAX_NESTED_LOOPS:
        raise ConditionError(f"all and exists may be nested {MAX_NESTED_LOOPS} deep at most")
    if _makes_lists(loop.iter_range) and not {*LONG, *loops}.isdisjoint(names_in(loop.iter_range)):
        raise ConditionError(
            "a loop must run over an existing list, or one of texts in quotes and short variables"
        )
    inside = (*loops, loop.iter_var)
    yield from _patterns(loop.iter_range, loops)
    yield from _patterns(loop.accu_init, inside)
    yield from _patterns(loop.loop_condition, inside)
    yield from _patterns(loop.loop_step, inside)
    yield from _patterns(loop.result, inside)


def _makes_lists(node: Expr) -> bool:
    """Tell whether a node builds a list, which may contain a long list many times."""
    is_list = node.WhichOneof("expr_kind") in {"list_expr", "struct_expr"}
    return is_list or node.call_expr.function == _PLUS or any(map(_makes_lists, child_nodes(node)))


def _call(call: Expr.Call, loops: tuple[str, ...]) -> Iterator[tuple[str, bool]]:
    """Check a call itself; yield its pattern if it is ``matches``. Raises ConditionError."""
    # The counter of exists_one is a sum too, of a variable that no condition can name.
    if call.function == _PLUS and loops and not call.args[0].ident_expr.name.startswith("@"):
        raise ConditionError("all and exists must not use + inside")
    if call.function != _MATCHES:
        return
    target = call.target if call.HasField("target") else call.args[0]
    pattern = call.args[-1].const_expr
    if pattern.WhichOneof("constant_kind") != "string_value":
        raise ConditionError(
            'the pattern of matches() must be a text in quotes, as in matches("^a+$")'
        )
    if loops and (target.ident_expr.name,) != loops:
        raise ConditionError(
            "inside all and exists, matches() may test only the element, and not in a nested loop"
        )
    yield pattern.string_value, bool(loops)


def _check_patterns(found: list[tuple[str, bool]]) -> None:
    patterns = [pattern for pattern, _ in found]
    if sum(map(len, patterns)) > MAX_PATTERN_CHARS:
        raise ConditionError(f"the patterns are longer than {MAX_PATTERN_CHARS} characters")
    if any(map(_UNICODE_CLASS.search, patterns)):
        raise ConditionError(r"a pattern must not use \p: write the characters, as in [a-z]")
    looped = "".join(pattern for pattern, is_looped in found if is_looped)
    if len(looped) > MAX_LOOP_PATTERN_CHARS or "{" in looped:
        raise ConditionError(
            f"inside all and exists, patterns may have {MAX_LOOP_PATTERN_CHARS} characters in all,"
            " and no {n}"
        )
    counted = [match for pattern in patterns for match in _COUNTED.findall(pattern)]
    if any(repeated == ")" for repeated, _, _ in counted):
        raise ConditionError("a pattern's {n} may repeat one character or class, not a group")
    if sum(int(bound) for _, *bounds in counted for bound in bounds if bound) > MAX_REPETITIONS:
        raise ConditionError(f"the patterns repeat more than {MAX_REPETITIONS} times")
    for pattern in patterns:
        if "\0" in pattern or not is_pattern(pattern):
            raise ConditionError("a pattern of matches() is not valid in RE2")
