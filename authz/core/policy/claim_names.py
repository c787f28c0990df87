"""Claims of a token as rules name them: by name, or by JSON Pointer (RFC 6901) for members within.

For example, Keycloak's roles are at ``/realm_access/roles``. A list claim has each of its values.
Values are compared with their types, so that ``true``, ``1`` and ``"1"`` are three different
values.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field

MAX_NAME_CHARS: Final = 256
_BAD_ESCAPE: Final = re.compile(r"~(?![01])")
ClaimValue = str | int | bool
NOT_AN_OBJECT: Final = object()  # in place of a claim: its parent is not an object


def _name(text: str) -> str:
    if text.startswith("$."):
        pointer = "/" + text[2:].replace(".", "/")
        raise ValueError(f"members are named by a JSON Pointer (RFC 6901): write {pointer}")
    if text.startswith("/") and _BAD_ESCAPE.search(text):
        raise ValueError("in a JSON Pointer write ~ as ~0, and / within a name as ~1 (RFC 6901)")
    return text


ClaimName = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARS), AfterValidator(_name)]


def _value(value: object) -> object:
    """Refuse other types in one error; a union of the three types would give three errors."""
    if not isinstance(value, str | int):
        message = "must be text, a whole number, true or false; else put it in quotes"
        raise ValueError(message)  # noqa: TRY004 - pydantic takes no TypeError for a mistake
    return value


WrittenValue = Annotated[ClaimValue, BeforeValidator(_value)]
"""For settings: a value of a claim."""


def _whole(text: str) -> str:
    if text.startswith("/"):
        raise ValueError(f"conditions read whole claims: write {root_of(text) or 'its name'}")
    return text


WholeClaimName = Annotated[
    str, Field(min_length=1, max_length=MAX_NAME_CHARS), AfterValidator(_whole)
]


def find_claim(claims: Mapping[str, object], name: str) -> object:
    """Return a claim's value; None if absent, ``NOT_AN_OBJECT`` if its parent is not an object."""
    if not name.startswith("/"):
        return claims.get(name)
    value: object = claims
    for step in name[1:].split("/"):
        if not isinstance(value, Mapping):
            return None if value is None else NOT_AN_OBJECT
        value = value.get(step.replace("~1", "/").replace("~0", "~"))
    return value


def root_of(name: str) -> str:
    """Return the top-level claim that contains a named claim."""
    if not name.startswith("/"):
        return name
    return name[1:].partition("/")[0].replace("~1", "/").replace("~0", "~")


def claim_values(claims: Mapping[str, object], name: str) -> Iterator[ClaimValue]:
    """Yield the texts, whole numbers and booleans that a claim is or holds.

    Some issuers send a single group as a text. It counts like a list of one value: a group's denies
    and suspension must not depend on the number of the principal's groups.
    """
    value = find_claim(claims, name)
    for item in value if isinstance(value, list) else (value,):
        if isinstance(item, str | int):
            yield item
