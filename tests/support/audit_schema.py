"""Holds the lines that tests' servers write to the JSON Schema of the audit log."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from jsonschema import Draft202012Validator

from authz.adapters.audit.records.schema import line_schema

_DECISION: Final = "decision"
_CHECKED: Final = 50  # each takes most of a millisecond


def _strict(schema: dict[str, Any]) -> Draft202012Validator:
    """A validator that takes no member that the schema does not name."""
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator({**schema, "additionalProperties": False})


_KINDS: Final = {kind: _strict(schema) for kind, schema in line_schema()["$defs"].items()}


def faults(line: bytes | str) -> list[str]:
    """Return what is wrong with a line, in words."""
    members = json.loads(line)
    validator = _KINDS.get(members.get("audit", _DECISION))
    if validator is None:
        return [f"no kind of line: {members['audit']}"]
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(members)]


def require_valid(lines: Iterable[bytes]) -> None:
    """Require that each line is as the schema says."""
    for line in lines:
        found = faults(line)
        assert not found, (found, line)


def require_valid_file(path: Path) -> None:
    """Require it of the lines of a server's file, if there is one; of many, of the first and last.

    A server that was killed may have left a part of a line.
    """
    lines = path.read_bytes().splitlines() if path.is_file() else []
    require_valid(line for line in (*lines[:_CHECKED], *lines[-_CHECKED:]) if _is_whole(line))


def _is_whole(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
