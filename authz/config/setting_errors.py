"""Says the settings types' errors in an operator's words: what would be right, and an example."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any, Final

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from authz.config.nearest import nearest, nearest_or_all
from authz.config.yaml_document import Place
from authz.core.conditions import ConditionError
from authz.core.settings import MisfitError

_KEY: Final = "[key]"  # pydantic's step for "the key itself, not its value"
_YES_AND_NO: Final = {"yes": "true", "on": "true", "no": "false", "off": "false"}
_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))
_NAME: Final = "a name of letters, digits, '.', '_' and '-', such as orders-read"
_PLAIN: Final = re.compile(r"[A-Za-z/.][A-Za-z0-9/._-]*")  # YAML needs no quotes around it
_SCOPE: Final = "one word of visible characters without quotes and backslashes, as in [orders:read]"
_MEMBER: Final = "the name of a member: letters, digits and _ . -, 64 at most"
# What each pattern of the settings types asks for; tests/config/test_config_errors.py wants all.
PATTERNS: Final[Mapping[str, str]] = MappingProxyType(
    {
        r"^[A-Za-z0-9._-]{1,128}$": _NAME,
        r"^[A-Za-z0-9_.-]{1,64}$": _MEMBER,
        r"^[\x21\x23-\x5b\x5d-\x7e]+$": _SCOPE,
        r"^[\x21\x23-\x5b\x5d-\x7e]{1,256}$": _SCOPE,
        r"^[\x21-\x7e]{1,128}$": "one word of visible characters, 128 at most",
        r"^([A-Z][A-Z-]{0,31}|\*)$": 'a method in capitals, such as GET, or "*" for any',
        r"^(unix:/.+|[^/\s]+:([0-9]|\{worker\}){1,5})$": (
            'an address, such as "unix:/run/authz/authz.sock" or "127.0.0.1:9191"'
        ),
        r"^[^/\s]+:[0-9]{1,5}$": 'an address with a port, such as "127.0.0.1:9192"',
        r"^unix:/.+": "an address such as unix:/run/spire/agent.sock",
        r"^[a-z][a-z0-9-]{0,30}-$": "lower-case letters, digits and '-', '-' at the end: x-agent-",
        r"^[a-z0-9-]{1,64}$": "a header's name in lower case, such as authorization",
        r"^[A-Za-z0-9-]{0,32}$": "one word, such as Bearer",
        r"^[A-Za-z_][A-Za-z0-9._-]{0,127}$": "letters, digits, '.', '_' and '-', a letter first",
        r"^[a-z][a-z0-9]{0,31}(-[a-z0-9]{1,32}){0,6}$": (
            "a header's name in lower case, such as x-agent-department"
        ),
        r"^[A-Za-z0-9._~+/-]{1,64}$": "the first characters of a token, such as ory_at_",
        r"^[a-z0-9_-]{1,64}$": "a header's name in lower case, such as x-env",
    }
)


def causes(details: Sequence[ErrorDetails]) -> list[ErrorDetails]:
    """Leave out errors that only follow from another.

    These are "too short" of a list whose items were refused, and "missing" of a misspelt key.
    """
    around = {detail["loc"][:depth] for detail in details for depth in range(len(detail["loc"]))}
    unknown = [detail["loc"] for detail in details if detail["type"] == "extra_forbidden"]
    return [
        detail
        for detail in details
        if not (detail["type"] == "too_short" and detail["loc"] in around)
        and not (
            detail["type"] == "missing" and any(_is_slip(loc, detail["loc"]) for loc in unknown)
        )
    ]


def _is_slip(unknown: Place, missing: Place) -> bool:
    return unknown[:-1] == missing[:-1] and nearest(str(unknown[-1]), [str(missing[-1])]) != ""


def error_place(detail: ErrorDetails) -> Place:
    """Return the place of an error; a MisfitError names the key within its section."""
    misfit = detail.get("ctx", {}).get("error")
    inside = misfit.place if isinstance(misfit, MisfitError) else ()
    return (*(step for step in detail["loc"] if step != _KEY), *inside)


def offset_of(detail: ErrorDetails) -> int:
    """Return the offset of the character that an error is about; 0 for the whole text."""
    error = detail.get("ctx", {}).get("error")
    return error.at if isinstance(error, ConditionError) else 0


def error_message(detail: ErrorDetails, place: Place, root: type[BaseModel]) -> str:
    """Say an error of the settings types in words of ours; ``root`` has the known keys."""
    if detail["type"] == "extra_forbidden":
        return "unknown key" + _suggestion(place, root)
    if detail["type"] in _MAPPING_TYPES:
        return _mapping(detail["input"], keys_at(root, place))
    words = _WORDS.get(detail["type"])
    if words is not None:
        return words(detail["input"], detail.get("ctx", {}))
    return detail["msg"].removeprefix("Value error, ")


def _suggestion(place: Place, root: type[BaseModel]) -> str:
    known = keys_at(root, place[:-1])
    return nearest_or_all(str(place[-1]), known, "known here") if known else ""


def _mapping(value: object, known: list[str]) -> str:
    keys = f"its keys: {', '.join(sorted(known))}" if known else "as in name: {key: value}"
    return f"{_but(value, 'a mapping')}; {keys}"


def _but(value: object, wanted: str) -> str:
    """Say ``must be a list, not text``, in the words of YAML."""
    if value is None:
        return f"is empty; it must be {wanted}"
    kinds: tuple[tuple[type, str], ...] = (
        (bool, "true or false"),
        (int, "a number"),
        (float, "a number with a point"),
        (str, "text"),
        (dict, "a mapping"),
        (tuple, "a list"),
    )
    kind = next((words for kind_type, words in kinds if isinstance(value, kind_type)), "this")
    return f"must be {wanted}, not {kind}"


def _in_a_list(value: str | float) -> str:
    """Write an item as YAML reads it within brackets: ``*`` or a comma there means something."""
    text = str(value)
    is_plain = not isinstance(value, str) or _PLAIN.fullmatch(text)
    return text if is_plain else json.dumps(text, ensure_ascii=False)


def _list(value: object, _: Mapping[str, Any]) -> str:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return f"{_but(value, 'a list')}: write [{_in_a_list(value)}]"
    return f"{_but(value, 'a list')}: write [a, b], or each item on a line of its own after '- '"


def _bad_text(value: object, _: Mapping[str, Any]) -> str:
    if isinstance(value, dict):
        return f"{_but(value, 'text')}: put what begins with {{ or holds ': ' in quotes"
    if isinstance(value, tuple):
        return f"{_but(value, 'text')}: write a single text, without [ ] or '- '"
    return f"{_but(value, 'text')}: put it in quotes"


def _boolean(value: object, _: Mapping[str, Any]) -> str:
    if isinstance(value, str) and (meant := _YES_AND_NO.get(value.lower())):
        return f"must be true or false: write {meant}, not {value}"
    if isinstance(value, str) and value.lower() in {"true", "false"}:
        return f"must be true or false: write {value.lower()}, in small letters and without quotes"
    return "must be true or false"


def _number(value: object, _: Mapping[str, Any]) -> str:
    plain = ": without quotes and unit" if isinstance(value, str) else ""
    return f"{_but(value, 'a whole number such as 5')}{plain}"


def _one_of(value: object, context: Mapping[str, Any]) -> str:
    expected = str(context["expected"])
    words = [word for word in expected.split("'")[1::2] if word]
    return f"must be {expected}{nearest(str(value), words)}"


def _amount(limit: float) -> str:
    """Write a limit as a config does; a float is a duration."""
    if isinstance(limit, int):
        return str(limit)
    for seconds, unit in _UNITS:
        if limit >= seconds and limit % seconds == 0:
            return f"{limit / seconds:.0f}{unit}"
    return f"{limit * 1000:.0f}ms" if limit else "0s"


def _pattern(value: object, context: Mapping[str, Any]) -> str:
    pattern = str(context["pattern"])
    words = PATTERNS.get(pattern, f"text that matches {pattern}")
    return f"{value!r} is invalid: it must be {words}"


_MAPPING_TYPES: Final = frozenset({"model_type", "model_attributes_type", "dict_type"})
_WORDS: Final[Mapping[str, Callable[[Any, Mapping[str, Any]], str]]] = MappingProxyType(
    {
        "missing": lambda _, __: "is required",
        "none_required": lambda _, __: "this key is reserved and has no meaning yet: leave it out",
        "too_long": lambda _, context: f"must have {context['max_length']} items at most",
        "tuple_type": _list,
        "string_type": _bad_text,
        "bool_type": _boolean,
        "int_type": _number,
        "float_type": _number,
        "literal_error": _one_of,
        "greater_than_equal": lambda _, context: f"must be at least {_amount(context['ge'])}",
        "less_than_equal": lambda _, context: f"must be at most {_amount(context['le'])}",
        "too_short": lambda _, __: "must not be empty",
        "string_too_short": lambda _, __: "must not be empty",
        "string_too_long": lambda _, context: (
            f"must have {context['max_length']} characters at most"
        ),
        "string_pattern_mismatch": _pattern,
    }
)


def keys_at(model: type[BaseModel], place: Place) -> list[str]:
    """Return the keys that a place of the config may have, by its JSON Schema."""
    root = _schema_of(model)
    node: Any = root
    for step in place:
        node = _inside(_resolve(root, node), step)
    return list(_resolve(root, node).get("properties", {}))


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
    """Follow references, and take the other type of a value that may be null."""
    while "$ref" in node or "anyOf" in node:
        if "anyOf" in node:
            node = next(option for option in node["anyOf"] if option.get("type") != "null")
        else:
            node = root["$defs"][str(node["$ref"]).rpartition("/")[2]]
    return node
