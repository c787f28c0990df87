"""YAML as plain data, with the line of every value: strict where YAML surprises.

Refused: a key that occurs twice (other loaders keep the last), anchors and aliases (a few lines of
them can stand for gigabytes), tags, and more than one document. ``no``, ``on`` and ``12:30`` are
text, as in YAML 1.2; only ``true`` and ``false`` are booleans.

Read from the parser's events and not from its tree: that takes a gigabyte for 100,000 rules, and
the recursion in C that builds it ends the process when a file is 100,000 brackets.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from authz.config.problems import Problem
from authz.config.syntax import encoding_problem, syntax_problem

MAX_DEPTH: Final = 32  # the config needs 7
_TOLD: Final = 4  # steps of too deep a place that are told
_INTEGER: Final = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_FLOAT: Final = re.compile(r"-?[0-9]{1,15}\.[0-9]{1,15}")
_WORDS: Final[Mapping[str, Any]] = {"true": True, "false": False, "null": None, "~": None, "": None}
_NO_ANCHORS: Final = "anchors, aliases and merge keys are not accepted: name a grant instead"
Step = str | int
Place = tuple[Step, ...]


@dataclass(slots=True)
class Lines:
    """The line of a value, and the lines of what is in it as far as they are others."""

    line: int = 1
    inside: "dict[Step, Lines | int]" = field(default_factory=dict)

    def put(self, step: Step, lines: "Lines") -> None:
        """Note a value's lines; most are that of what is around, and need no memory."""
        if lines.inside:
            self.inside[step] = lines
        elif lines.line != self.line:
            self.inside[step] = lines.line

    def of(self, place: Place) -> int:
        """The line of a place, or of the nearest one around it that is written down."""
        found = self
        for step in place:
            inner = found.inside.get(step)
            if not isinstance(inner, Lines):
                return found.line if inner is None else inner
            found = inner
        return found.line


@dataclass(slots=True)
class Document:
    """A parsed file: its data, the line of each place in it, and what was wrong with the YAML.

    Mappings are dicts, lists are tuples.
    """

    file: str
    data: Any = None
    lines: Lines = field(default_factory=Lines)
    problems: list[Problem] = field(default_factory=list)

    def line_of(self, place: Place) -> int:
        """The line of a place, or of the nearest one around it that is written down."""
        return self.lines.of(place)

    def problem(self, place: Place, message: str) -> Problem:
        """A problem with a place."""
        return Problem(self.file, self.line_of(place), dotted(place), message)


class _StopError(Exception):
    """The rest of the file can't be read; what is wrong is noted."""


def parse(data: bytes, file: str) -> Document:
    """Parse a file's bytes. Never raises: what is wrong stands in ``problems``.

    ``data`` is None if there is nothing that could be looked at further.
    """
    document = Document(file)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line, message = encoding_problem(data, error)
        document.problems.append(Problem(file, line, "", message))
        return document
    try:
        document.data = _Builder(document, yaml.CSafeLoader(text).get_event).document()
    except yaml.YAMLError as error:
        line, message = syntax_problem(text, error)
        document.problems.append(Problem(file, line, "", message))
    except _StopError:
        pass
    return document


class _Builder:
    """Turns events into data, noting lines and problems."""

    def __init__(self, document: Document, next_event: Callable[[], Any]) -> None:
        self._document = document
        self._next = next_event

    def document(self) -> Any:  # noqa: ANN401 - YAML is any data
        self._next()  # the stream's start
        if not isinstance(self._next(), yaml.DocumentStartEvent):
            self._problem(1, (), "the file is empty")
            return None
        event = self._next()
        self._document.lines.line = _line(event)
        data = self._value(event, (), self._document.lines)
        self._next()  # the document's end
        event = self._next()
        if isinstance(event, yaml.DocumentStartEvent):
            self._problem(_line(event), (), "a second document: one file is one, without ---")
            raise _StopError
        return data

    def _value(self, event: Any, place: Place, lines: Lines) -> Any:  # noqa: ANN401 - any data
        kind = type(event)
        if kind is yaml.AliasEvent:
            message = f"{_NO_ANCHORS}. A text that begins with * must stand in quotes"
            return self._problem(_line(event), place, message)
        if event.anchor is not None:
            self._problem(_line(event), place, _NO_ANCHORS)
        if event.tag is not None:
            message = f"tags such as {event.tag} are not accepted; a text with ! is put in quotes"
            self._problem(_line(event), place, message)
        if kind is yaml.ScalarEvent:
            return _scalar(event)
        if len(place) > MAX_DEPTH:
            self._problem(_line(event), place[:_TOLD], f"nested deeper than {MAX_DEPTH} levels")
            raise _StopError
        if kind is yaml.SequenceStartEvent:
            return self._sequence(place, lines)
        return self._mapping(place, lines)

    def _sequence(self, place: Place, lines: Lines) -> tuple[Any, ...]:
        items: list[Any] = []
        while type(event := self._next()) is not yaml.SequenceEndEvent:
            of_item = Lines(_line(event))
            items.append(self._value(event, (*place, len(items)), of_item))
            lines.put(len(items) - 1, of_item)
        return tuple(items)

    def _mapping(self, place: Place, lines: Lines) -> dict[str, Any]:
        data: dict[str, Any] = {}
        while type(event := self._next()) is not yaml.MappingEndEvent:
            key = self._key(event, place)
            of_value = Lines(_line(event))
            value = self._value(self._next(), place if key is None else (*place, key), of_value)
            if key is None:
                continue
            if key in data:
                first = lines.of((key,))
                message = f"this key stands on line {first} already"
                self._problem(_line(event), (*place, key), message)
                continue
            data[key] = value
            lines.put(key, of_value)
        return data

    def _key(self, event: Any, place: Place) -> str | None:  # noqa: ANN401 - see _line
        """A key, None for what can't be one."""
        if not isinstance(event, yaml.ScalarEvent):
            message = "a key must be plain text; a text that begins with { or [ is put in quotes"
            self._problem(_line(event), place, message)
            self._value(event, place, Lines())
            return None
        if event.value == "<<" or event.anchor is not None:
            self._problem(_line(event), place, _NO_ANCHORS)
            return None
        return str(event.value)

    def _problem(self, line: int, place: Place, message: str) -> None:
        problem = Problem(self._document.file, line, dotted(place), message)
        self._document.problems.append(problem)


def _line(event: Any) -> int:  # noqa: ANN401 - the parser's events have no types
    return int(event.start_mark.line) + 1


def _scalar(event: Any) -> Any:  # noqa: ANN401 - YAML is any data
    text = str(event.value)
    if event.style:  # quoted or a block: text, whatever it looks like
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def dotted(place: Place) -> str:
    """A place as people write it: ``issuers[0].keys.jwks_uri``."""
    text = ""
    for step in place:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text
