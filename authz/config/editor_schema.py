"""The JSON Schema for editors: of a config in one file, and of each file of a split config."""

from collections.abc import Iterator
from typing import Any, Final

from authz.config.merged import LISTS, MAPPINGS

SCHEMA_ID: Final = "urn:agent-authz:config"
TITLE: Final = "agent-authz config"
_MAY_BE_INCLUDED: Final = (*LISTS, *MAPPINGS)


def editor_schema(whole: dict[str, Any]) -> dict[str, Any]:
    """Return the schema (draft 2020-12) of any of a config's files, from that of a complete config.

    Descriptions stay. Titles are removed, because they repeat a key's name or are names of our
    classes. Defaults are in the form of the config, because editors offer them.
    """
    required = whole["required"]
    made = {key: value for key, value in whole.items() if key != "required"}
    for node in _nodes(made):
        node.pop("title", None)
        _write_default(node)
        if "patternProperties" in node:
            node["additionalProperties"] = False
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": TITLE,
        **made,
        **_required(required),
    }


def is_duration(node: dict[str, Any]) -> bool:
    """Tell whether a schema is a duration's."""
    return "ms|s|m" in node.get("pattern", "")


def duration_text(seconds: float) -> str:
    """Return a duration as a config has it: whole seconds, or milliseconds."""
    milliseconds = round(seconds * 1000)
    return f"{milliseconds}ms" if milliseconds % 1000 else f"{milliseconds // 1000}s"


def _write_default(node: dict[str, Any]) -> None:
    """Write a default in the config's form. Drop a default that equals a missing key."""
    default = node.get("default")
    if default in (None, "", []) or isinstance(default, dict):
        node.pop("default", None)
    elif is_duration(node):
        node["default"] = duration_text(default)


def _required(whole: list[str]) -> dict[str, Any]:
    """Return the keys that a file must have: fewer if it includes other files, or is included."""
    including = [key for key in whole if key not in _MAY_BE_INCLUDED]
    return {
        "if": {"required": ["include"]},
        "then": {"required": including},
        "else": {
            "if": {"propertyNames": {"enum": [*_MAY_BE_INCLUDED]}, "minProperties": 1},
            "else": {"required": whole},
        },
    }


def _nodes(schema: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - JSON
    """Yield each schema within a schema, but no mapping of names to schemas."""
    if isinstance(schema, list):
        for item in schema:
            yield from _nodes(item)
    elif isinstance(schema, dict):
        yield schema
        for key, value in schema.items():
            named = key in {"properties", "patternProperties", "$defs"}
            if key not in {"default", "enum", "const"}:
                yield from _nodes([*value.values()] if named else value)
