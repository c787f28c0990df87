"""Calls the CEL library, as the only module: offers a part of the language, and words its errors.

cel-expr-python does not raise if an evaluation fails: it returns a value of type ERROR, whose
``value()`` is a text, which is truthy. So only a BOOL that is ``True`` counts as true here.
"""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from types import ModuleType
from typing import Final, Protocol

import yaml

from authz.core.conditions.variables import VARIABLES
from authz.core.extras import missing_extra

# A closed list. Conditions do not need what is left out: macros that make lists and texts grow
# (map, filter), and time, which reads zone files and has no clock here.
_MACROS: Final = ("has", "all", "exists", "exists_one")
_FUNCTIONS: Final = (
    *("_&&_", "_||_", "!_", "_?_:_", "@not_strictly_false", "_==_", "_!=_"),
    *("_<_", "_<=_", "_>_", "_>=_", "_+_", "_-_", "_*_", "_/_", "_%_", "-_", "@in", "_[_]"),
    *("size", "startsWith", "endsWith", "contains", "matches"),
    *("string", "int", "double", "bool", "type"),
)
OFFERED: Final = (*_MACROS, *(name for name in _FUNCTIONS if name.isalpha()))
RESERVED: Final = frozenset(name.partition(".")[0] for name in VARIABLES)
_HINTS: Final = {
    **dict.fromkeys(("map", "filter", "existsOne"), "has, all, exists and exists_one are offered"),
    **dict.fromkeys(("timestamp", "duration", "now"), "conditions have no time: a rule's keys do"),
}
_OPERATORS: Final = {"and": "&&", "or": "||", "not": "!"}
_ERROR: Final = re.compile(r"ERROR: <input>:([0-9]+):([0-9]+): (.*)")
_UNKNOWN_NAME: Final = re.compile(r"undeclared reference to '([^']*)'")
_WORD: Final = re.compile(r"(?:mismatched|extraneous) input '(\w+)'")
_ASSIGNED: Final = re.compile(r"token recognition error at: '=(?!=)")
_NOISE: Final = re.compile(r" \(in container ''\)| expecting \{.*")
# The parser's messages, and the words for operators.
_IN_WORDS: Final = (
    (re.compile(r"undeclared reference to '([^']*)'.*"), r"there is no name \1"),
    (re.compile(r"Syntax error: .*input '<EOF>'.*"), "not CEL: it ends too early"),
    (
        re.compile(r"Syntax error: missing '(.*)' at '<EOF>'.*"),
        r"not CEL: a \1 is missing at the end",
    ),
    (
        re.compile(r"Syntax error: missing '(.*)' at '(.*)'.*"),
        r"not CEL: a \1 is missing before \2",
    ),
    (
        re.compile(r"Syntax error: [^']*'(.*?) *'?(?: expecting .*)?"),
        r"not CEL: \1 is not expected here",
    ),
)
_MAX_MESSAGE_CHARS: Final = 200
_FAILURES: Final = {
    "NOT_FOUND": "it reads a member that is not there; has() asks whether it is",
    "OUT_OF_RANGE": "a number is out of range",
}


class ConditionError(ValueError):
    """An invalid condition; the message says what is wrong and what would be right.

    ``at`` is the index of the character at which the error is, as far as it is known.
    """

    def __init__(self, message: str, at: int = 0) -> None:
        """Explain the error in ``message``; ``at`` is its index in the text, 0 if unknown."""
        super().__init__(message)
        self.at = at


class ConditionFailedError(Exception):
    """A condition without a value for a request; the message holds nothing of the request."""


# The part of the library that is called here; the library itself is not typed.
class _Type(Protocol):
    def name(self) -> str: ...


class _Result(Protocol):
    def type(self) -> _Type: ...
    def value(self) -> object: ...


class Program(Protocol):
    """A compiled condition of the library.

    Does not guarantee to raise on a failed evaluation: the result may have the type ERROR.
    """

    def eval(
        self, activation: object = None, *, data: Mapping[str, object] | None = None
    ) -> _Result:
        """Evaluate the condition for an activation, or for the values of variables."""

    def return_type(self) -> _Type:
        """Return the type of the condition's value."""

    def serialize(self) -> bytes:
        """Return the condition's checked syntax tree, serialized."""


class _Environment(Protocol):
    def compile(self, text: str, /) -> Program: ...
    def Activation(self, values: Mapping[str, object], /) -> object: ...  # noqa: N802 - its name


@cache
def _library() -> ModuleType:
    try:
        from cel_expr_python import cel  # noqa: PLC0415 - an optional extra
    except ImportError:
        raise ConditionError(missing_extra("cel", "conditions need")) from None
    library: ModuleType = cel
    return library


@cache
def _environment() -> _Environment:
    cel = _library()
    config = {
        "stdlib": {
            "include_macros": list(_MACROS),
            "include_functions": [{"name": name} for name in _FUNCTIONS],
        },
        "variables": [{"name": name, "type": kind} for name, (kind, _) in VARIABLES.items()],
    }
    environment: _Environment = cel.NewEnv(config=cel.NewEnvConfigFromYaml(yaml.safe_dump(config)))
    return environment


def compile_program(text: str) -> Program:
    """Compile to the library's program, whose result is a bool. Raises ConditionError."""
    environment = _environment()
    try:
        program = environment.compile(text)
    except Exception as error:  # noqa: BLE001 - the library raises RuntimeError and others
        raise _explained(text, str(error)) from None
    kind = program.return_type()
    if kind != _library().Type.BOOL:
        raise ConditionError(
            f"the condition is not true or false but of type {kind.name().lower()}: compare it, as"
            " in claims.admin == true"
        )
    try:
        program.eval(data={})  # plans it now instead of in a request
    except Exception:  # noqa: BLE001 - likewise
        raise ConditionError("the condition has no value, whatever the request") from None
    return program


def activation(values: Mapping[str, object]) -> object:
    """Convert the values of all variables into the library's form."""
    return _environment().Activation(values)


def truth(program: Program, values: object) -> bool:
    """Evaluate a program on an activation. Raises ConditionFailedError."""
    try:
        result = program.eval(values)
        # The type first: value() of a null gives away a reference that it does not own.
        value = result.value() if result.type() == _library().Type.BOOL else None
    except Exception as error:  # noqa: BLE001 - the library raises RuntimeError and others
        spent = "Iteration budget" in str(error)
        raise ConditionFailedError(
            "the condition takes too many steps" if spent else "the condition can't be evaluated"
        ) from None
    if value is True or value is False:
        return bool(value)
    raise ConditionFailedError(_failure(result))


def _failure(result: _Result) -> str:
    """Return why there is no value. The library's text quotes claims, so only its code is used."""
    if result.type() != _library().Type.ERROR:
        return "the condition is not true or false"
    code = str(result.value()).partition(":")[0]
    why = _FAILURES.get(code, "an operation does not accept its values")
    return f"the condition has no value: {why}"


def is_pattern(text: str) -> bool:
    """Tell whether ``matches`` accepts a text as a pattern."""
    cel = _library()
    probe = cel.NewEnv(variables={"pattern": cel.Type.STRING}).compile('"".matches(pattern)')
    return bool(probe.eval(data={"pattern": text}).type() == cel.Type.BOOL)


def _explained(condition: str, message: str) -> ConditionError:
    """Return the library's error in one line, with a hint if the right form is known."""
    errors = _ERROR.findall(message)
    if "recursion" in message:  # the parser's own limit is 32
        return ConditionError("the condition is nested too deeply, or a sum is too long")
    if not errors:
        return ConditionError("the condition can't be read")
    told = [(line, column, text, _hint(text)) for line, column, text in errors]
    line, column, text, hint = next((error for error in told if error[3]), told[0])
    if not hint and _UNKNOWN_NAME.search(text):
        hint = "a text stands in quotes, as in 'corp.example'"
    text = _in_words(_NOISE.sub("", text))[:_MAX_MESSAGE_CHARS]
    told_as = f"line {line}, column {column}: {text}" + (f"; {hint}" if hint else "")
    before = condition.split("\n")[: int(line) - 1]
    return ConditionError(told_as, sum(len(passed) + 1 for passed in before) + int(column) - 1)


def _in_words(text: str) -> str:
    """Translate the parser's messages into words for operators, as far as they are known."""
    for theirs, ours in _IN_WORDS:
        if match := theirs.fullmatch(text):
            return match.expand(ours)
    return text


def _hint(text: str) -> str:
    if match := _UNKNOWN_NAME.search(text):
        return _name_hint(match[1])
    if _ASSIGNED.search(text):
        return "write == to compare"
    if "mismatched input '<EOF>'" in text:
        return "something is missing at the end"
    match = _WORD.search(text)
    return f"write {_OPERATORS[match[1]]}" if match and match[1] in _OPERATORS else ""


def _name_hint(name: str) -> str:
    root = name.partition(".")[0]
    if name in _HINTS:
        return _HINTS[name]
    if name in _OPERATORS:
        return f"write {_OPERATORS[name]}"
    members = [variable for variable in VARIABLES if variable.startswith(f"{root}.")]
    known = [*VARIABLES, *OFFERED]
    near = get_close_matches(name, known, n=1)
    if members and not near:
        return f"there are {', '.join(members)}"
    near = near or get_close_matches(root, VARIABLES if "." in name else known, n=1)
    return f"did you mean {near[0]}?" if near else ""
