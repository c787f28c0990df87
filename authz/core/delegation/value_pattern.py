"""Patterns that make an agent's SPIFFE ID from a claim's value.

No two values may make the same ID, or one agent could get another's ID. So the ID must contain each
name of the pattern, and between two names there must be a character that they can't hold.
"""

import re
from dataclasses import dataclass
from typing import Final, Self

from authz.core.spiffe import SCHEME, SpiffeId, SpiffeIdError

_NAME: Final = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_HELD: Final = r"[A-Za-z0-9._-]"  # characters of a name: those of a path segment (SPIFFE-ID 2.2)
_ALL_HELD: Final = re.compile(f"{_HELD}*")


@dataclass(frozen=True, slots=True)
class ValuePattern:
    """A pattern of values, and the template of the IDs that they make."""

    value: re.Pattern[str]
    template: str

    @classmethod
    def parse(cls, value: str, template: str) -> Self:
        """Parse a pattern such as ``client-{name}`` and a template of a SPIFFE ID.

        Raises ValueError, which says what would be right.
        """
        literals, names = _parts(value)
        _, made_of = _parts(template)
        if not names:
            raise ValueError("it has no {name}: put a single value into map")
        for name in made_of:
            if name not in names:
                raise ValueError(f"the value has no {{{name}}}")
        for name in names:
            if name not in made_of:
                raise ValueError(f"the SPIFFE ID lacks {{{name}}}: two values would make the same")
        _check_id(template)
        held = [f"(?P<{name}>{_HELD}+)" for name in names]
        escaped = [re.escape(literal) for literal in literals]
        between = [part for pair in zip(escaped, held, strict=False) for part in pair]
        return cls(re.compile("".join([*between, escaped[-1]])), template)

    def make(self, value: str) -> str | None:
        """Return the ID that a value makes, which need not be valid; None if it does not fit."""
        match = self.value.fullmatch(value)
        return None if match is None else self.template.format_map(match.groupdict())


def _parts(text: str) -> tuple[list[str], list[str]]:
    """Return the literals of a pattern, and the names between them. Raises ValueError."""
    parts = _NAME.split(text)
    literals, names = parts[::2], parts[1::2]
    if any("{" in literal or "}" in literal for literal in literals):
        raise ValueError("a { or } is not part of a name, which is written {name}, in lower case")
    if len(set(names)) < len(names):
        raise ValueError("a name is in it twice")
    for literal in literals[1:-1]:
        if _ALL_HELD.fullmatch(literal):
            found = f"not {literal!r}" if literal else "such as ':'"
            raise ValueError(
                f"between two names there must be a character that they can't hold, {found}"
            )
    return literals, names


def _check_id(template: str) -> None:
    domain = template.removeprefix(SCHEME).partition("/")[0]
    if "{" in domain:
        raise ValueError("the trust domain must be written out")
    try:
        SpiffeId.parse(_NAME.sub("x", template))
    except SpiffeIdError as error:
        raise ValueError(f"it makes no SPIFFE ID: {error}") from None
