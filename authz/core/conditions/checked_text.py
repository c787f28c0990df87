"""Compiles the text of a condition, checks its cost, and finds what it reads and compares.

It needs protobuf, in which the CEL library gives the syntax tree. A config without conditions loads
neither.
"""

from dataclasses import dataclass

from authz.core.conditions.cel import Program, compile_program
from authz.core.conditions.compared_types import Compared, compared_in
from authz.core.conditions.cost import check_cost
from authz.core.conditions.syntax_tree import members_in, names_in, parse_tree


@dataclass(frozen=True, slots=True)
class CheckedText:
    """The result of compiling a text.

    Attributes:
        program: evaluates it.
        names: the variables that it reads, each as often as the text has it.
        members: the members that it reads by name, each with its variable.
        compared: the values that it compares.
    """

    program: Program
    names: tuple[str, ...]
    members: tuple[tuple[str, str], ...]
    compared: tuple[Compared, ...]


def check_text(text: str) -> CheckedText:
    """Compile a text. Raises ConditionError, also for its cost and without the CEL library."""
    program = compile_program(text)
    checked = parse_tree(program.serialize())
    check_cost(checked.expr)
    names, members = names_in(checked.expr), members_in(checked.expr)
    return CheckedText(program, tuple(names), tuple(members), compared_in(checked))
