"""Closed sets that operators write: text in the config, members in the code."""

from typing import Literal

import pytest
from pydantic import ValidationError

from authz.core.choice import Need
from authz.core.settings import Settings


class Told(Settings):
    """A setting of such a set."""

    proof: Need = Need.OPTIONAL


class Plain(Settings):
    """The same as a Literal."""

    proof: Literal["optional", "required"] = "optional"


def test_its_text_is_taken_and_becomes_the_member() -> None:
    """Though no setting is coerced, a text of the set is good, and is compared as a member."""
    assert Told.model_validate({"proof": "required"}).proof is Need.REQUIRED
    assert Told(proof=Need.REQUIRED).proof is Need.REQUIRED
    assert Told().proof is Need.OPTIONAL


@pytest.mark.parametrize("value", ["Required", "REQUIRED", "", None, 1, ["required"]])
def test_anything_else_is_refused_as_a_literal_is(value: object) -> None:
    """The error is the one that the config's reader puts into an operator's words."""
    told, plain = (_error(of, value) for of in (Told, Plain))

    assert told == plain
    assert told["type"] == "literal_error"


def test_outside_it_is_the_text() -> None:
    """The schema, and the JSON of which a policy's version is made, are those of a Literal."""
    told, plain = (of.model_json_schema()["properties"] for of in (Told, Plain))

    assert told == plain
    assert Told(proof=Need.REQUIRED).model_dump_json() == Plain(proof="required").model_dump_json()


def _error(of: type[Settings], value: object) -> dict[str, object]:
    with pytest.raises(ValidationError) as caught:
        of.model_validate({"proof": value})
    return dict(caught.value.errors(include_url=False)[0])
