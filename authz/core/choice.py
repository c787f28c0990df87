"""The base of closed sets that operators write: each member is the text that stands for it.

A setting of such a type takes that text, is the member afterwards, and has the schema and the
errors of a ``Literal`` of the texts.
"""

from enum import StrEnum

from pydantic_core import CoreSchema, core_schema


class Choice(StrEnum):
    """A closed set of texts, for settings and for what is decided by them."""

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: object) -> CoreSchema:
        """Take one of the texts, also where nothing may be coerced."""
        texts = core_schema.literal_schema([member.value for member in cls])
        return core_schema.no_info_after_validator_function(cls, texts)


class Need(Choice):
    """Whether something that a request may bring has to be there."""

    OPTIONAL = "optional"
    REQUIRED = "required"
