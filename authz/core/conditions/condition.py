"""A condition: its text, compiled when the config is loaded, and its evaluation."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from operator import attrgetter
from typing import TYPE_CHECKING, Final, Self

from pydantic import ValidationInfo
from pydantic_core import core_schema

from authz.core.conditions.cel import ConditionError, Program, truth
from authz.core.conditions.variables import CLAIMS

if TYPE_CHECKING:
    from authz.core.conditions.compared_types import Compared
    from authz.core.conditions.facts import Facts


MAX_TEXT_BYTES: Final = 2048  # some 30 lines; a longer text is a program, for a policy engine


@dataclass(frozen=True, slots=True)
class Condition:
    """A compiled condition; conditions of the same text are equal.

    It is a type for settings too, written as a text. If their validation has a context, of the type
    ``Listed``, members that the condition reads by name must be listed there.
    """

    text: str
    _program: Program = field(compare=False, repr=False)
    _names: frozenset[str] = field(compare=False, repr=False)
    members: tuple[tuple[str, str], ...] = field(compare=False, repr=False)
    """Members of variables that it reads by name, such as ("claims", "level")."""
    _claims: frozenset[str] | None = field(compare=False, repr=False)
    """The claims that it reads; None for any of the listed claims."""
    _compared: tuple["Compared", ...] = field(compare=False, repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Compile a text.

        Raises ConditionError for an error in syntax, names or types, for its cost, and without the
        CEL library.
        """
        try:
            size_bytes = len(text.encode())
        except UnicodeEncodeError:
            raise ConditionError("the condition is not Unicode text") from None
        if size_bytes > MAX_TEXT_BYTES:
            raise ConditionError(f"the condition is longer than {MAX_TEXT_BYTES} bytes")
        from authz.core.conditions.checked_text import (  # noqa: PLC0415 - see there
            check_text,
        )

        checked = check_text(text)
        names, members = checked.names, checked.members
        claims = frozenset(name for variable, name in members if variable == CLAIMS)
        is_by_name = names.count(CLAIMS) == sum(variable == CLAIMS for variable, _ in members)
        return cls(
            text,
            checked.program,
            frozenset(names),
            members,
            claims if is_by_name else None,
            checked.compared,
        )

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: object) -> core_schema.CoreSchema:
        """Return the schema of a text that compiles; it is serialized as that text."""
        text = core_schema.str_schema(strict=True)
        written = core_schema.plain_serializer_function_ser_schema(
            attrgetter("text"), return_schema=text
        )
        return core_schema.with_info_after_validator_function(
            _of_settings, text, serialization=written
        )

    def mentions(self, name: str) -> bool:
        """Tell whether it reads a variable of ``VARIABLES``."""
        return name in self._names

    def holds(self, facts: "Facts") -> bool:
        """Tell whether the condition is true of a request.

        Raises:
            ConditionFailedError: it has no value, as when a claim is missing, has another type, or
                is declared to be elsewhere. That is neither true nor false: the caller must take
                the stricter outcome, which depends on the rule's effect.
        """
        values = facts.activation()
        if self._claims != frozenset():
            facts.check_here(self._claims)
        for compared in self._compared:
            facts.check_kinds(compared)
        return truth(self._program, values)


Listed = Mapping[str, Collection[str]]
"""The members that may be read of a variable, as the config lists them, by the variable's name."""


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
