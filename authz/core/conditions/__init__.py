"""Conditions in CEL, for what lists can't say: typed at load, bounded in cost, never true by error.

A condition is compiled once, when the config is loaded, and asked once a decision. It has no clock
and sees no credential; what it may read stands in ``VARIABLES``.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from operator import attrgetter
from typing import Final, Self

from pydantic import ValidationInfo
from pydantic_core import core_schema

from authz.core.conditions.cel import (
    ConditionError,
    ConditionFailedError,
    Program,
    compile_program,
    truth,
)
from authz.core.conditions.compared_types import Compared, compared_in
from authz.core.conditions.cost import check_cost
from authz.core.conditions.facts import ConditionHeader, Facts
from authz.core.conditions.syntax_tree import members_in, names_in, parse_tree
from authz.core.conditions.variables import ARGUMENTS, CLAIMS, HEADERS, VARIABLES

__all__ = [
    "ARGUMENTS",
    "CLAIMS",
    "HEADERS",
    "VARIABLES",
    "Condition",
    "ConditionError",
    "ConditionFailedError",
    "ConditionHeader",
    "Facts",
    "Listed",
]

MAX_TEXT_BYTES: Final = 2048  # some 30 lines; what is longer is a program, for a policy engine


@dataclass(frozen=True, slots=True)
class Condition:
    """A compiled condition; two of one text are equal.

    A type for settings too: there it is a text. ``Listed`` is the context of their validation, if
    there is one; then what it reads by name has to be listed.
    """

    text: str
    _program: Program = field(compare=False, repr=False)
    _names: frozenset[str] = field(compare=False, repr=False)
    members: tuple[tuple[str, str], ...] = field(compare=False, repr=False)
    """Members of variables that it reads by name: ("claims", "level")."""
    _claims: frozenset[str] | None = field(compare=False, repr=False)
    """The claims that it reads; None for any of those that are listed."""
    _compared: tuple[Compared, ...] = field(compare=False, repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Compile. Raises ConditionError: syntax, names, types, cost, or no library."""
        try:
            size_bytes = len(text.encode())
        except UnicodeEncodeError:
            raise ConditionError("the condition is not Unicode text") from None
        if size_bytes > MAX_TEXT_BYTES:
            raise ConditionError(f"the condition is longer than {MAX_TEXT_BYTES} bytes")
        program = compile_program(text)
        checked = parse_tree(program.serialize())
        tree = checked.expr
        check_cost(tree)
        names, members = list(names_in(tree)), tuple(members_in(tree))
        claims = frozenset(name for variable, name in members if variable == CLAIMS)
        is_by_name = names.count(CLAIMS) == sum(variable == CLAIMS for variable, _ in members)
        return cls(
            text,
            program,
            frozenset(names),
            members,
            claims if is_by_name else None,
            compared_in(checked),
        )

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: object) -> core_schema.CoreSchema:
        """Give pydantic the schema: a text that parses, and the text again in what is written."""
        text = core_schema.str_schema(strict=True)
        written = core_schema.plain_serializer_function_ser_schema(
            attrgetter("text"), return_schema=text
        )
        return core_schema.with_info_after_validator_function(
            _of_settings, text, serialization=written
        )

    def mentions(self, name: str) -> bool:
        """Tell whether it reads one of ``VARIABLES``."""
        return name in self._names

    def holds(self, facts: Facts) -> bool:
        """Tell whether it is true of a request.

        Raises:
            ConditionFailedError: it has no value, as when a claim is missing, has another type, or
                is said to be elsewhere. That is neither true nor false: who asks has to refuse,
                whatever the rule is for.
        """
        values = facts.activation()
        if self._claims != frozenset():
            facts.check_here(self._claims)
        for compared in self._compared:
            facts.check_kinds(compared)
        return truth(self._program, values)


Listed = Mapping[str, Collection[str]]
"""Which members of a variable may be read at all: by its name, those that the config lists."""


def _of_settings(text: str, info: ValidationInfo) -> Condition:
    condition = Condition.parse(text)
    listed: Listed = info.context or {}
    for variable, name in condition.members:
        known = listed.get(variable)
        if known is not None and name not in known:
            near = get_close_matches(name, known, n=1)
            meant = f"; did you mean {near[0]}?" if near else ""
            key = f"conditions.{variable.rpartition('.')[2]}"
            message = f"{key} does not list {name}, so that it is never there{meant}"
            found = re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text)
            raise ConditionError(message, found.start() if found else 0)
    return condition
