"""The type of headers that conditions may read: never a header that carries a credential."""

from typing import Annotated

from pydantic import AfterValidator, Field


def _no_credential(name: str) -> str:
    from authz.core.conditions.facts import (  # noqa: PLC0415 - most configs name no such header
        WITHHELD_HEADERS,
    )

    if name in WITHHELD_HEADERS:
        raise ValueError(f"{name} is a credential: no condition may read it")
    return name


ConditionHeader = Annotated[
    str, Field(pattern="^[a-z0-9_-]{1,64}$"), AfterValidator(_no_credential)
]
"""For settings: the lower-case name of a header that conditions may read."""
