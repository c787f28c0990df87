"""Conditions in CEL, for what lists can't say: typed at load, bounded in cost, never true by error.

A condition is compiled once, when the config is loaded, and asked once a decision. It has no clock
and sees no credential; what it may read stands in ``VARIABLES``.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator

from authz.conditions.cost import check_cost
from authz.conditions.facts import ConditionHeader, Facts
from authz.conditions.language import ConditionError, ConditionFailedError, compiled, truth
from authz.conditions.syntax import names_in, tree_of
from authz.conditions.variables import ARGUMENTS, VARIABLES

__all__ = [
    "ARGUMENTS",
    "VARIABLES",
    "Condition",
    "ConditionError",
    "ConditionFailedError",
    "ConditionHeader",
    "ConditionText",
    "Facts",
]

MAX_TEXT_BYTES: Final = 2048  # some 30 lines; what is longer is a program, for a policy engine


@dataclass(frozen=True, slots=True)
class Condition:
    """A compiled condition; two of one text are equal."""

    text: str
    _program: Any = field(compare=False, repr=False)
    _names: frozenset[str] = field(compare=False, repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Compile. Raises ConditionError: syntax, names, types, cost, or no library."""
        try:
            size_bytes = len(text.encode())
        except UnicodeEncodeError:
            raise ConditionError("the condition is not Unicode text") from None
        if size_bytes > MAX_TEXT_BYTES:
            raise ConditionError(f"the condition is longer than {MAX_TEXT_BYTES} bytes")
        program = compiled(text)
        tree = tree_of(program.serialize())
        check_cost(tree)
        return cls(text, program, frozenset(names_in(tree)))

    def reads(self, name: str) -> bool:
        """Whether it reads one of ``VARIABLES``."""
        return name in self._names

    def holds(self, facts: Facts) -> bool:
        """Whether it is true of a request.

        Raises:
            ConditionFailedError: it has no value, as when a claim is missing or has another type.
                That is neither true nor false: who asks has to refuse, whatever the rule is for.
        """
        return truth(self._program, facts.activation())


def _checked(text: str) -> str:
    Condition.parse(text)
    return text


ConditionText = Annotated[str, AfterValidator(_checked)]
"""For settings: the text of a condition, which parses."""
