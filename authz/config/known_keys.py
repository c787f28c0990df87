"""Finds the keys that a place of the config may have, by the JSON Schema of its settings."""

from functools import cache
from typing import Any

from pydantic import BaseModel

from authz.config.yaml_document import Place


def keys_at(model: type[BaseModel], place: Place) -> list[str]:
    """Return the keys that a place of the config may have."""
    return list(_node_at(model, place).get("properties", {}))


def holds_lists(model: type[BaseModel], place: Place) -> bool:
    """Tell whether a place is a mapping of names to lists."""
    root = _schema_of(model)
    return _resolve(root, _inside(_node_at(model, place), "")).get("type") == "array"


def is_required(model: type[BaseModel], place: Place) -> bool:
    """Tell whether the key of a place can't be left out."""
    return bool(place) and place[-1] in _node_at(model, place[:-1]).get("required", ())


def _node_at(model: type[BaseModel], place: Place) -> dict[str, Any]:
    root = _schema_of(model)
    node: Any = root
    for step in place:
        node = _inside(_resolve(root, node), step)
    return _resolve(root, node)


@cache
def _schema_of(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema()


def _inside(node: dict[str, Any], step: str | int) -> dict[str, Any]:
    """Return the schema of an item or a member."""
    if isinstance(step, int):
        found = node.get("items", {})
    else:
        patterns = list(node.get("patternProperties", {}).values())
        others = patterns[0] if patterns else node.get("additionalProperties", {})
        found = node.get("properties", {}).get(step, others)
    return found if isinstance(found, dict) else {}


def _resolve(root: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """Follow references, and return the other type of a value that may be null."""
    while "$ref" in node or "anyOf" in node:
        if "anyOf" in node:
            node = next(option for option in node["anyOf"] if option.get("type") != "null")
        else:
            node = root["$defs"][str(node["$ref"]).rpartition("/")[2]]
    return node
