"""Words the settings types' errors for operators: what would be right, and an example."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from authz.config.forms import PATTERNS, meant
from authz.config.known_keys import holds_lists, is_required, keys_at
from authz.config.nearest import nearest, nearest_or_all
from authz.config.other_names import advice, ours
from authz.config.yaml_document import Place
from authz.core.conditions import ConditionError
from authz.core.settings import MisfitError

_KEY: Final = "[key]"  # pydantic's step for "the key itself, not its value"
_OR_LEAVE_OUT: Final = ", or leave it out"
_YES_AND_NO: Final = {"yes": "true", "on": "true", "no": "false", "off": "false"}
_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))
_PLAIN: Final = re.compile(r"[A-Za-z/.][A-Za-z0-9/._-]*")  # YAML needs no quotes around it
_SEVERAL: Final = re.compile(r"\s*,\s*")
# The remedy for an empty list, if a more specific word than "item" is better.
_NEEDED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "algorithms": "name the algorithms of the issuer's keys, as in [ES256]",
        "allowed_callers": "name the proxies that may ask, by SPIFFE ID",
        "audiences": "list what tokens for your services have in aud",
        "grants": "name a grant, or leave it out and set unrestricted: true or suspended: true",
        "hosts": 'name a host, or "*" for any',
        "issuers": "list an issuer of delegation tokens",
        "listen": "give an address, as in unix:/run/authz/authz.sock",
        "methods": 'name a method, as in [GET], or "*" for any',
        "paths": "name a path, as in [/orders/**]",
        "trust_domains": "name your SPIFFE trust domain, as in [corp.example]",
    }
)


@dataclass(frozen=True, slots=True)
class _Mistake:
    """An invalid value, the facts about its error, and the place in the settings of ``root``."""

    value: Any
    context: Mapping[str, Any]
    place: Place
    root: type[BaseModel]


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
    written, wanted = str(unknown[-1]), [str(missing[-1])]
    return unknown[:-1] == missing[:-1] and bool(ours(written, wanted) or nearest(written, wanted))


def error_place(detail: ErrorDetails) -> Place:
    """Return the place of an error; a MisfitError names the key within its section."""
    misfit = detail.get("ctx", {}).get("error")
    inside = misfit.place if isinstance(misfit, MisfitError) else ()
    return (*(step for step in detail["loc"] if step != _KEY), *inside)


def offset_of(detail: ErrorDetails) -> int:
    """Return the offset of the character that an error is about; 0 for all of the text."""
    error = detail.get("ctx", {}).get("error")
    return error.at if isinstance(error, ConditionError) else 0


def error_message(detail: ErrorDetails, place: Place, root: type[BaseModel]) -> str:
    """Return our words for an error of the settings types; ``root`` has the known keys."""
    words = _WORDS.get(detail["type"])
    if words is not None:
        return words(_Mistake(detail["input"], detail.get("ctx", {}), place, root))
    return detail["msg"].removeprefix("Value error, ")


def _unknown(mistake: _Mistake) -> str:
    known, name = keys_at(mistake.root, mistake.place[:-1]), str(mistake.place[-1])
    hint = advice(name, known) or (nearest_or_all(name, known, "known here") if known else "")
    return f"unknown key{hint}"


def _mapping(mistake: _Mistake) -> str:
    known = keys_at(mistake.root, mistake.place)
    is_of_lists = holds_lists(mistake.root, mistake.place)
    example = "name: [...], each name with its list" if is_of_lists else "name: {key: value}"
    keys = f"its keys: {', '.join(sorted(known))}" if known else f"as in {example}"
    return f"{_but(mistake.value, 'a mapping')}; {keys}"


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
    """Write an item as YAML reads it within brackets, where ``*`` and a comma are special."""
    text = str(value)
    is_plain = not isinstance(value, str) or _PLAIN.fullmatch(text)
    return text if is_plain else json.dumps(text, ensure_ascii=False)


def _list(mistake: _Mistake) -> str:
    value = mistake.value
    if keys := keys_at(mistake.root, (*mistake.place, 0)):
        listed = ", ".join(sorted(keys))
        return f"{_but(value, 'a list')}: put '- ' before each item, a mapping of keys: {listed}"
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        items = _SEVERAL.split(value) if isinstance(value, str) else [value]
        return f"{_but(value, 'a list')}: write [{', '.join(map(_in_a_list, items))}]"
    return f"{_but(value, 'a list')}: write [a, b], or each item on a line of its own after '- '"


def _bad_text(mistake: _Mistake) -> str:
    value = mistake.value
    if isinstance(value, dict):
        return f"{_but(value, 'text')}: put what begins with {{ or holds ': ' in quotes"
    if isinstance(value, tuple):
        return f"{_but(value, 'text')}: write a single text, without [ ] or '- '"
    return f"{_but(value, 'text')}: put it in quotes"


def _boolean(mistake: _Mistake) -> str:
    value = mistake.value
    if isinstance(value, str) and (meant := _YES_AND_NO.get(value.lower())):
        return f"must be true or false: write {meant}, not {value}"
    if isinstance(value, str) and value.lower() in {"true", "false"}:
        return f"must be true or false: write {value.lower()}, in small letters and without quotes"
    return _but(value, "true or false")


def _number(mistake: _Mistake) -> str:
    value = mistake.value
    told = _but(value, "a whole number such as 5")
    if not isinstance(value, str):
        return told
    digits = re.sub(r"[_',]", "", value)
    if digits != value and digits.isdecimal():
        return f"{told}: write {int(digits)}"
    return f"{told}: without quotes and unit"


def _one_of(mistake: _Mistake) -> str:
    expected = str(mistake.context["expected"])
    words = [word for word in expected.split("'")[1::2] if word]
    return f"must be {expected}{nearest(str(mistake.value), words)}"


def _empty(mistake: _Mistake) -> str:
    """Say what an empty list or text must hold."""
    name = mistake.place[-1] if mistake.place else ""
    if isinstance(mistake.value, str):
        return "must not be empty"
    needed = _NEEDED.get(str(name), "list at least one item")
    or_none = "" if name in _NEEDED or is_required(mistake.root, mistake.place) else _OR_LEAVE_OUT
    return f"must not be empty: {needed}{or_none}"


def _amount(limit: float) -> str:
    """Write a limit as a config does; a float is a duration."""
    if isinstance(limit, int):
        return str(limit)
    for seconds, unit in _UNITS:
        if limit >= seconds and limit % seconds == 0:
            return f"{limit / seconds:.0f}{unit}"
    return f"{limit * 1000:.0f}ms" if limit else "0s"


def _pattern(mistake: _Mistake) -> str:
    pattern = str(mistake.context["pattern"])
    words = PATTERNS.get(pattern, f"text that matches {pattern}")
    texts = meant(pattern, str(mistake.value))
    cure = f"; write {', '.join(map(_in_a_list, texts))}" if texts else ""
    return f"{mistake.value!r} is invalid: it must be {words}{cure}"


def _too_many(mistake: _Mistake) -> str:
    return f"must have {mistake.context['max_length']} items at most"


def _too_long(mistake: _Mistake) -> str:
    return f"must have {mistake.context['max_length']} characters at most"


_WORDS: Final[Mapping[str, Callable[[_Mistake], str]]] = MappingProxyType(
    {
        "extra_forbidden": _unknown,
        "missing": lambda _: "is required",
        "none_required": lambda _: "this key is reserved and has no meaning yet: leave it out",
        "model_type": _mapping,
        "model_attributes_type": _mapping,
        "dict_type": _mapping,
        "too_long": _too_many,
        "tuple_type": _list,
        "string_type": _bad_text,
        "bool_type": _boolean,
        "int_type": _number,
        "float_type": lambda it: (
            f"{_but(it.value, 'a number such as 0.5')}: without quotes and unit"
        ),
        "literal_error": _one_of,
        "greater_than_equal": lambda it: f"must be at least {_amount(it.context['ge'])}",
        "less_than_equal": lambda it: f"must be at most {_amount(it.context['le'])}",
        "too_short": _empty,
        "string_too_short": _empty,
        "string_too_long": _too_long,
        "string_pattern_mismatch": _pattern,
    }
)
