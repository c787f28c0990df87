"""Edits the text of Envoy's shipped bootstrap, so that its comments and hardening stay."""

from collections.abc import Mapping
from importlib.resources import files
from typing import Final

FILE: Final = "envoy.yaml"


def shipped_bootstrap() -> str:
    """Return the hardened bootstrap; ``envoy/envoy.yaml`` in the repository is the same."""
    return files("authz.starter").joinpath(FILE).read_text(encoding="utf-8")


def replace_all(text: str, replacements: Mapping[str, str]) -> str:
    """Replace each text by another. Raises KeyError for a text that is not there."""
    for old, new in replacements.items():
        if old not in text:
            raise KeyError(f"{FILE} has no {old!r}")
        text = text.replace(old, new)
    return text


def cut(text: str, first: str, until: str = "") -> str:
    """Remove the lines from the line with ``first`` up to the next with ``until``, or to the end.

    Raises KeyError if one of them is missing.
    """
    begin = _line_with(text, first, 0)
    end = _line_with(text, until, begin) if until else len(text)
    return text[:begin] + text[end:]


def _line_with(text: str, words: str, start: int) -> int:
    at = text.find(words, start)
    if at < 0:
        raise KeyError(f"{FILE} has no {words!r}")
    return text.rfind("\n", 0, at) + 1
