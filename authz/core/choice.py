"""The base of closed sets that operators write: each member is its own text.

A setting of such a type takes the text and becomes the member; its schema and its errors are those
of a ``Literal`` of the texts. The command's arguments have such sets too, so that pydantic, which
takes long to load, is not needed here.
"""

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic_core import CoreSchema


class Choice(StrEnum):
    """A closed set of texts, for settings and for decisions that depend on them."""

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: object) -> "CoreSchema":
        """Return a schema that takes one of the texts, in strict mode too."""
        from pydantic_core import core_schema  # noqa: PLC0415 - pydantic calls this, so it is there

        texts = core_schema.literal_schema([member.value for member in cls])
        return core_schema.no_info_after_validator_function(cls, texts)


class Need(Choice):
    """How an optional part of a request is treated: it may be there, or must."""

    OPTIONAL = "optional"
    REQUIRED = "required"


class WhenAway(Choice):
    """What counts while the shared store is away: nothing, or what this process saw itself."""

    DENY = "deny"
    LOCAL = "local"
