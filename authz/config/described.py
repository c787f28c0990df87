"""The JSON Schema of settings, with the docstrings below its members as descriptions.

They are read from the source when a schema is requested. pydantic's ``use_attribute_docstrings``
reads and parses the source of each class when the class is made: a third of a server's start.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema


def described_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON Schema of a type of settings, for people."""
    return model.model_json_schema(schema_generator=_Described)


class _Described(GenerateJsonSchema):
    """Makes schemas with descriptions."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """Return the schema of a model, each member described."""
        made, fields = super().model_schema(schema), schema["cls"].model_fields
        for name, text in _of_members(schema["cls"]).items():
            if text != fields[name].annotation.__doc__:  # which the member's own type has
                made["properties"][name]["description"] = text
        return made


def _of_members(model: type[BaseModel]) -> dict[str, str]:
    """Return the docstrings of a model's members.

    A class may describe an inherited member again.
    """
    bases = [base for base in reversed(model.__mro__) if issubclass(base, BaseModel)]
    found = {name: text for base in bases[1:] for name, text in _docstrings(base)}
    return {name: text for name, text in found.items() if name in model.model_fields}


def _docstrings(kind: type) -> Iterator[tuple[str, str]]:
    """Yield the names of a class's attributes, each with the docstring below it."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    (body,) = [node.body for node in tree.body if isinstance(node, ast.ClassDef)]
    for above, below in pairwise(body):
        match above, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                yield name, inspect.cleandoc(text)
