"""Parses YAML to plain data with the line of every value, and refuses YAML's surprising forms.

Refused: a key that occurs twice (other loaders keep the last), anchors and aliases (a few lines of
them can stand for gigabytes), tags, and more than one document. ``no``, ``on`` and ``12:30`` are
text, as in YAML 1.2; only ``true`` and ``false`` are booleans.

It reads the parser's events instead of its tree: the tree takes a gigabyte for 100,000 rules, and
the recursion in C that builds it crashes the process if a file is 100,000 brackets.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from authz.config.problems import Problem, without_repeats
from authz.config.yaml_syntax import encoding_problem, syntax_problem

_LOOKED_THROUGH: Final = 200  # lines searched for a text: a condition has 2048 bytes at most
MAX_DEPTH: Final = 32  # the config needs 7
_TOLD: Final = 4  # steps that a problem names of a place that is too deep
_INTEGER: Final = re.compile(r"-?(0|[1-9][0-9]{0,39})")  # beyond 64 bits, as claims may be
_FLOAT: Final = re.compile(r"-?[0-9]{1,15}\.[0-9]{1,15}")
_NUMBER_BEGINS: Final = frozenset("-0123456789")
_WORDS: Final[Mapping[str, Any]] = {"true": True, "false": False, "null": None, "~": None, "": None}
_NO_ANCHORS: Final = (
    "anchors, aliases and merge keys are not accepted: write the value out, or share rules by a"
    " grant"
)
Step = str | int
Place = tuple[Step, ...]


@dataclass(slots=True)
class Lines:
    """The line of a value, and the lines of those values inside it that are on other lines."""

    line: int = 1
    inside: "dict[Step, Lines | int]" = field(default_factory=dict)

    def of(self, place: Place) -> int:
        """Return the line of a place, or of the nearest place around it that is written."""
        found = self
        for step in place:
            inner = found.inside.get(step)
            if not isinstance(inner, Lines):
                return found.line if inner is None else inner
            found = inner
        return found.line


@dataclass(slots=True)
class YamlDocument:
    """A parsed file: its data, the line of each place in it, and the problems of its YAML.

    Mappings are dicts, lists are tuples. ``text`` is the whole file.
    """

    file: str
    data: Any = None
    lines: Lines = field(default_factory=Lines)
    problems: list[Problem] = field(default_factory=list)
    text: str = ""
    _lines: list[str] = field(default_factory=list)  # of the text, made when they are first needed

    def line_of(self, place: Place) -> int:
        """Return the line of a place, or of the nearest place around it that is written."""
        return self.lines.of(place)

    def line_within(self, place: Place, value: str, offset: int) -> int:
        """Return the line of a character of a text, which may be written on several lines.

        YAML breaks, folds and indents texts, and changes only white space: so the search leaves
        white space out. It does not find a text with escapes, which has the line of its place.
        """
        first = self.line_of(place)
        self._lines = self._lines or self.text.split("\n")
        lines = self._lines[first - 1 : first + _LOOKED_THROUGH]
        written = "".join("".join(line.split()) for line in lines)
        begin = written.find("".join(value.split()))
        if begin < 0:
            return first
        left = begin + len("".join(value[:offset].split()))
        for number, line in enumerate(lines):
            left -= len("".join(line.split()))
            if left < 0:
                return first + number
        return first

    def problem(self, place: Place, message: str) -> Problem:
        """Return a problem with a place."""
        return Problem(self.file, self.line_of(place), dotted(place), message)


class _StopError(Exception):
    """The rest of the file can't be read; its problem has been noted."""


def parse(data: bytes, file: str) -> YamlDocument:
    """Parse a file's bytes. Never raises: errors are in ``problems``.

    ``data`` is None if nothing could be read.
    """
    document = YamlDocument(file)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line, message = encoding_problem(data, error)
        document.problems.append(Problem(file, line, "", message))
        return document
    document.text = text
    place: list[Step] = []  # of the value that is being read
    try:
        document.data = _Builder(document, yaml.CSafeLoader(text).get_event, place).document()
    except yaml.YAMLError as error:
        line, message = syntax_problem(text, error)
        document.problems.append(Problem(file, line, dotted(tuple(place[:_TOLD])), message))
    except _StopError:
        pass
    return document


_Node = yaml.AliasEvent | yaml.ScalarEvent | yaml.SequenceStartEvent | yaml.MappingStartEvent


class _Builder:
    """Turns events into data, and notes lines and problems.

    ``place`` is kept up to date, so that ``parse`` knows where the parser stopped.
    """

    def __init__(
        self, document: YamlDocument, next_event: Callable[[], Any], place: list[Step]
    ) -> None:
        self._document = document
        self._next = next_event
        self._place = place

    def document(self) -> object:
        self._next()  # the stream's start
        if not isinstance(self._next(), yaml.DocumentStartEvent):
            self._problem(1, "the file is empty")
            return None
        event = self._next()
        lines = self._document.lines
        lines.line = _line(event)
        data = self._value(event, lines)
        self._next()  # the document's end
        event = self._next()
        if isinstance(event, yaml.DocumentStartEvent):
            self._problem(_line(event), "a second document: a file may hold only one, without ---")
            raise _StopError
        return data

    def _value(self, event: _Node, lines: Lines) -> object:
        if isinstance(event, yaml.AliasEvent):
            message = f"{_NO_ANCHORS}. A text that begins with * must stand in quotes"
            self._problem(lines.line, message)
            return None
        if event.anchor is not None:
            self._problem(lines.line, _NO_ANCHORS)
        if event.tag is not None:
            message = f"tags such as {event.tag} are not accepted; a text with ! is put in quotes"
            self._problem(lines.line, message)
        if type(event) is yaml.ScalarEvent:
            return _scalar(event)
        if len(self._place) > MAX_DEPTH:
            del self._place[_TOLD:]
            self._problem(lines.line, f"nested deeper than {MAX_DEPTH} levels")
            raise _StopError
        return (
            self._sequence(lines)
            if type(event) is yaml.SequenceStartEvent
            else self._mapping(lines)
        )

    def _inner(self, step: Step, line: int, event: _Node, lines: Lines) -> object:
        """Return a value within another, and add its lines to the outer value's ``lines``."""
        if type(event) is yaml.ScalarEvent and event.anchor is None and event.tag is None:
            if line != lines.line:  # a fast path for most values
                lines.inside[step] = line
            return _scalar(event)
        self._place.append(step)
        own = Lines(line)
        value = self._value(event, own)
        self._place.pop()
        if own.inside:
            lines.inside[step] = own
        elif line != lines.line:
            lines.inside[step] = line
        return value

    def _sequence(self, lines: Lines) -> tuple[Any, ...]:
        items: list[Any] = []
        while type(event := self._next()) is not yaml.SequenceEndEvent:
            items.append(self._inner(len(items), _line(event), event, lines))
        return tuple(items)

    def _mapping(self, lines: Lines) -> dict[str, Any]:
        data: dict[str, Any] = {}
        while type(event := self._next()) is not yaml.MappingEndEvent:
            line = _line(event)
            key = self._key(event, line)
            if key in data:
                self._place.append(key)
                self._problem(line, f"this key is already on line {lines.of((key,))}")
                self._place.pop()
                key = None
            if key is None:
                self._value(self._next(), Lines(line))
            else:
                data[key] = self._inner(key, line, self._next(), lines)
        return data

    def _key(self, event: _Node, line: int) -> str | None:
        """Return a key; None, with a problem noted, if it can't be a key."""
        if type(event) is not yaml.ScalarEvent:
            message = (
                "a key must be plain text: put a text that begins with { or [ in quotes, and render"
                " a template such as {{ .Values.x }} first"
            )
            self._problem(line, message)
            self._value(event, Lines(line))
            return None
        if event.value == "<<" or event.anchor is not None:
            self._problem(line, _NO_ANCHORS)
            return None
        return _scalar_text(event)

    def _problem(self, line: int, message: str) -> None:
        problem = Problem(self._document.file, line, dotted(tuple(self._place)), message)
        self._document.problems += without_repeats([problem], self._document.problems[-1:])


def _line(event: yaml.Event) -> int:
    mark: Any = event.start_mark  # typed as optional, but a parser always sets it
    return int(mark.line) + 1


def _scalar(event: yaml.ScalarEvent) -> object:
    text = _scalar_text(event)
    if event.style:  # quoted, or a block: always text
        return text
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMBER_BEGINS:
        return text
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _scalar_text(event: yaml.ScalarEvent) -> str:
    """Return a scalar's text. Raises YAMLError for a NUL, at which the system would end it."""
    text = str(event.value)
    if "\0" in text:
        told = "the control character U+0000 is not allowed"
        mark: Any = event.start_mark  # see _line
        raise yaml.MarkedYAMLError(problem=told, problem_mark=mark)
    return text


def dotted(place: Place) -> str:
    """Write a place as people write it: ``issuers[0].keys.jwks_uri``."""
    text = ""
    for step in place:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text
