"""YAML as plain data, with the line of every value: strict where YAML surprises.

Refused: a key that occurs twice (other loaders keep the last), anchors and aliases (a few lines of
them can stand for gigabytes), tags, and more than one document. ``no``, ``on`` and ``12:30`` are
text, as in YAML 1.2; only ``true`` and ``false`` are booleans.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

MAX_BYTES: Final = 64 * 1024 * 1024  # 100,000 rules are some 20 MB
MAX_DEPTH: Final = 32  # the config needs 7
_INTEGER: Final = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_FLOAT: Final = re.compile(r"-?[0-9]{1,15}\.[0-9]{1,15}")
_WORDS: Final[Mapping[str, Any]] = {"true": True, "false": False, "null": None, "~": None, "": None}
_IMPLICIT_TAGS: Final = frozenset(
    f"tag:yaml.org,2002:{kind}"
    for kind in ("str", "int", "float", "bool", "null", "timestamp", "merge", "value")
)
Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a config file, for a person: where, and what would be right."""

    line: int
    place: str
    message: str


@dataclass(slots=True)
class Document:
    """A parsed file: its data, the line of each place in it, and what was wrong with the YAML."""

    data: Any = None
    lines: dict[Place, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line_of(self, place: Place) -> int:
        """The line of a place, or of the nearest one around it that is written down."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)


def parse(text: str) -> Document:
    """Parse. Never raises: what is wrong stands in ``problems``."""
    document = Document()
    try:
        node = yaml.compose(text, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        document.problems.append(Problem(line, "", f"not YAML: {error.problem or error.context}"))
        return document
    except (yaml.YAMLError, RecursionError) as error:
        document.problems.append(Problem(1, "", f"not YAML: {type(error).__name__}"))
        return document
    if node is None:
        document.problems.append(Problem(1, "", "the file is empty"))
        return document
    document.data = _Builder(document).build(node, ())
    return document


class _Builder:
    """Turns nodes into data, noting lines and problems."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._seen: set[int] = set()

    def build(self, node: yaml.Node, place: Place) -> Any:  # noqa: ANN401 - YAML is any data
        self._document.lines.setdefault(place, node.start_mark.line + 1)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, place)
        if id(node) in self._seen:
            return self._problem(node, place, "anchors and aliases are not accepted; name a grant")
        self._seen.add(id(node))
        if len(place) > MAX_DEPTH:
            return self._problem(node, place, f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(node, yaml.SequenceNode):
            return [self.build(child, (*place, at)) for at, child in enumerate(node.value)]
        return self._mapping(node, place)

    def _mapping(self, node: yaml.Node, place: Place) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._problem(key_node, place, "a key must be plain text")
                continue
            key = key_node.value
            here = (*place, key)
            if key in data:
                first = self._document.lines[here]
                self._problem(key_node, here, f"this key stands on line {first} already")
                continue
            self._document.lines[here] = key_node.start_mark.line + 1
            data[key] = self.build(value_node, here)
        return data

    def _scalar(self, node: yaml.ScalarNode, place: Place) -> Any:  # noqa: ANN401 - see build
        text = str(node.value)
        if node.tag not in _IMPLICIT_TAGS:
            return self._problem(node, place, f"tags such as {node.tag} are not accepted")
        if node.style:  # quoted or a block: text, whatever it looks like
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _INTEGER.fullmatch(text):
            return int(text)
        return float(text) if _FLOAT.fullmatch(text) else text

    def _problem(self, node: yaml.Node, place: Place, message: str) -> None:
        line = node.start_mark.line + 1
        self._document.problems.append(Problem(line, dotted(place), message))


def dotted(place: Place) -> str:
    """A place as people write it: ``issuers[0].keys.jwks_uri``."""
    text = ""
    for step in place:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text
