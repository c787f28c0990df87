"""What a condition may cost at most, read from its checked syntax tree when it is loaded.

The library stops a condition after 10,000 steps of ``all`` and ``exists``, but a step could be
anything: with 2 KB of condition over an 8 KB token, two minutes were seen. So a loop has only its
element, short variables and what the condition writes out, and neither sums nor, two levels deep,
patterns. Then all of its steps together read the token once for each operation in the loop.
"""

import re
from collections.abc import Iterator
from typing import Final

from authz._pb.cel_ast_pb2 import Expr
from authz.conditions.language import RESERVED, ConditionError, is_pattern
from authz.conditions.syntax import children
from authz.conditions.variables import LONG

MAX_NESTED_LOOPS: Final = 2  # authorization_details.exists(d, d.actions.exists(...)) needs two
MAX_PATTERN_CHARS: Final = 256  # of all patterns together; what they cost grows with it
MAX_REPETITIONS: Final = 128  # sum of the numbers in braces; a pattern is as large as they are
_COUNTED: Final = re.compile(r"(.)\{([0-9]*),?([0-9]*)\}")
_MATCHES: Final = "matches"
_PLUS: Final = "_+_"


def check_cost(tree: Expr) -> None:
    """Hold a condition's syntax tree to the bounds. Raises ConditionError."""
    _check_patterns(list(_patterns(tree, ())))


def _patterns(node: Expr, loops: tuple[str, ...]) -> Iterator[str]:
    """Check a node and all below it; ``loops`` are the variables of the loops around it.

    Yields the patterns that ``matches`` gets.
    """
    kind = node.WhichOneof("expr_kind")
    if kind is None:
        raise ConditionError("the condition has an expression of a kind that is not known here")
    if kind == "struct_expr" and node.struct_expr.message_name:
        raise ConditionError("a condition makes no messages")
    if kind == "comprehension_expr":
        yield from _loop(node.comprehension_expr, loops)
        return
    if loops and node.ident_expr.name in LONG:
        raise ConditionError(
            f"within all and exists there is no {node.ident_expr.name}: only the element, texts"
            " in quotes and short variables; `x in list` needs no loop"
        )
    if kind == "call_expr":
        yield from _call(node.call_expr, loops)
    for child in children(node):
        yield from _patterns(child, loops)


def _loop(loop: Expr.Comprehension, loops: tuple[str, ...]) -> Iterator[str]:
    if loop.iter_var in RESERVED:
        raise ConditionError(f"{loop.iter_var} is a reserved name: call the element something else")
    if len(loops) == MAX_NESTED_LOOPS:
        raise ConditionError(f"all and exists stand within each other {MAX_NESTED_LOOPS} deep only")
    inside = (*loops, loop.iter_var)
    yield from _patterns(loop.iter_range, loops)
    yield from _patterns(loop.accu_init, inside)
    yield from _patterns(loop.loop_condition, inside)
    yield from _patterns(loop.loop_step, inside)
    yield from _patterns(loop.result, inside)


def _call(call: Expr.Call, loops: tuple[str, ...]) -> Iterator[str]:
    """Check a call itself; yields its pattern if it is ``matches``."""
    # The counter of exists_one is a sum too, of a variable that no text can name.
    if call.function == _PLUS and loops and not call.args[0].ident_expr.name.startswith("@"):
        raise ConditionError("within all and exists there is no +")
    if call.function != _MATCHES:
        return
    target = call.target if call.HasField("target") else call.args[0]
    pattern = call.args[-1].const_expr
    if pattern.WhichOneof("constant_kind") != "string_value":
        raise ConditionError('the pattern of matches() is a text in quotes, as in matches("^a+$")')
    if loops and (target.ident_expr.name,) != loops:
        raise ConditionError("within all and exists, matches() is for the element, one level deep")
    yield pattern.string_value


def _check_patterns(patterns: list[str]) -> None:
    if sum(map(len, patterns)) > MAX_PATTERN_CHARS:
        raise ConditionError(f"the patterns are longer than {MAX_PATTERN_CHARS} characters")
    counted = [match for pattern in patterns for match in _COUNTED.findall(pattern)]
    if any(repeated == ")" for repeated, _, _ in counted):
        raise ConditionError("a pattern's {n} is for one character or class, not for a group")
    if sum(int(bound) for _, *bounds in counted for bound in bounds if bound) > MAX_REPETITIONS:
        raise ConditionError(f"the patterns repeat more than {MAX_REPETITIONS} times")
    for pattern in patterns:
        if "\0" in pattern or not is_pattern(pattern):
            raise ConditionError("a pattern of matches() is not one that RE2 reads")
