"""Words the errors of invalid YAML for operators, with their lines."""

import codecs
import re
from typing import Final

import yaml

# The parser's messages, and the words for operators.
_PARSER: Final = (
    ("found character that cannot start any token", ""),  # by the character: see _START
    ("tab character", "indented with a tab: YAML takes spaces only"),
    (
        "mapping values are not allowed",
        (
            "a key is not expected here: look at its indent and the line above; "
            "a text with ': ' in it must stand in quotes"
        ),
    ),
    ("did not find expected ',' or ']'", "the list that begins here with [ does not end with ]"),
    ("did not find expected ',' or '}'", "the mapping that begins here with { does not end with }"),
    ("found unexpected end of stream", "the quote that opens here is never closed"),
    ("found unexpected document indicator", "the quote that opens here is never closed"),
    (
        "did not find expected key",
        (
            "a key is expected here, and nothing after a closing quote or bracket: "
            "keys must start in the column"
        ),
    ),
    (
        "did not find expected '-' indicator",
        "a list item is expected here: items begin with '- ' and must start in the column",
    ),
    ("could not find expected ':'", "a key and ': ' are expected here"),
    (
        "did not find expected alphabetic or numeric character",
        "a text that begins with * or & must stand in quotes",
    ),
    (
        "block sequence entries are not allowed",
        "a list begins here: put '- ' on the next line; a dash as text must stand in quotes",
    ),
    ("expected whitespace", "after a name that begins with ! & or * a space is expected"),
    ("found unexpected ':'", "a ':' is not expected here: the text must stand in quotes"),
    ("escape", "a \\ between double quotes begins an escape: use single quotes"),
    (
        "did not find expected <document start>",
        (
            "this line does not belong to what is above: a config is a mapping, lines of"
            " 'key: value', and nothing may stand after the document's end (...)"
        ),
    ),
    ("did not find expected node content", "a value is expected here"),
    ("directive", "a line must not begin with %"),
)
_BEGINNING: Final = ("',' or", "end of stream", "document indicator", "expected ':'")
_COLUMN: Final = "in the column"
_IN_BRACKETS: Final = (
    "; or a quote in it does not end; "
    "or a text in it holds one of , { } [ ] and must stand in quotes"
)
_ODD_SPACE: Final = re.compile(r" *([\u00a0\u2000-\u200b\u202f\u205f\u3000])")
# An action of Go's templates (Helm), or of Jinja's (Ansible), on a line of its own: never YAML.
_TEMPLATE: Final = re.compile(r"^ *\{[{%]", re.MULTILINE)
_START: Final = {"\t": "a tab: YAML is indented with spaces only"}
_UTF16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def encoding_problem(data: bytes, error: UnicodeDecodeError) -> tuple[int, str]:
    """Return the line and the message for bytes that are not UTF-8."""
    if data.startswith(_UTF16):
        return 1, "not UTF-8 but UTF-16: save it as UTF-8"
    line = data.count(b"\n", 0, error.start) + 1
    return line, f"not UTF-8: byte 0x{data[error.start]:02x}; save the file as UTF-8"


def syntax_problem(text: str, error: yaml.YAMLError) -> tuple[int, str]:
    """Return the line and the message for a text that the parser refused."""
    if isinstance(error, yaml.reader.ReaderError):
        line = text.encode()[: error.position].count(b"\n") + 1
        return line, f"not YAML: the control character U+{error.character:04X} is not allowed"
    if not isinstance(error, yaml.MarkedYAMLError):
        return 1, "not YAML"
    if match := _TEMPLATE.search(text):
        line = text.count("\n", 0, match.start()) + 1
        return line, "not YAML but a template: render it first, as with helm template"
    complaint = str(error.problem or error.context)
    began = any(words in complaint for words in _BEGINNING) and error.context_mark is not None
    mark = error.context_mark if began else error.problem_mark or error.context_mark
    if mark is None:
        return 1, f"not YAML: {complaint}"
    for number in (mark.line, mark.line + 1):  # it reads such a line as part of the line above
        if match := _ODD_SPACE.match(_line(text, number - 1)):
            what = f"U+{ord(match[1]):04X}, which looks like a space"
            return number, f"not YAML: the line begins with {what}: indent with spaces"
    return mark.line + 1, f"not YAML: {_words(text, error, complaint)}"


def _words(text: str, error: yaml.MarkedYAMLError, complaint: str) -> str:
    ours = next((ours for theirs, ours in _PARSER if theirs in complaint), complaint)
    if "',' or" in complaint:
        return ours + _IN_BRACKETS
    if ours == "" and error.problem_mark is not None:
        character = _character(text, error.problem_mark)
        return _START.get(character, f"a text that begins with {character} must stand in quotes")
    if error.context_mark is not None and ours.endswith(_COLUMN):
        first, end = error.context_mark, error.problem_mark
        last = _last_in_column(text, first, end) if end is not None else None
        others = f", and of the last one on line {last}" if last else ""
        return f"{ours} of the first one on line {first.line + 1}{others}"
    return ours


def _last_in_column(text: str, first: yaml.Mark, end: yaml.Mark) -> int | None:
    """Return the number of the last line that begins in the column of ``first``, None if none."""
    lines = text.splitlines()
    for number in range(min(end.line, len(lines)) - 1, first.line, -1):
        inner = lines[number].lstrip(" ")
        if inner and inner[0] != "#" and len(lines[number]) - len(inner) == first.column:
            return number + 1
    return None


def _character(text: str, mark: yaml.Mark) -> str:
    return _line(text, mark.line)[mark.column : mark.column + 1]


def _line(text: str, number: int) -> str:
    lines = text.splitlines()
    return lines[number] if 0 <= number < len(lines) else ""
