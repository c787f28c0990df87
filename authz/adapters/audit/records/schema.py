"""The JSON Schema of the audit log's lines, made from the types that records are made of."""

import ast
import inspect
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Final

import msgspec
from msgspec import UnsetType

from authz.adapters.audit.records import line_members
from authz.adapters.audit.records.line import MAX_ID_CHARS
from authz.adapters.audit.records.line_members import LeafEnd, RecordEnd
from authz.adapters.audit.records.record import VERSION, AuditOperation, AuditRecord
from authz.adapters.audit.redaction_settings import DroppedField, HashedField
from authz.core.decision import Effect, Mode, ShadowBy
from authz.core.reason import Reason
from authz.core.request import CallKind
from authz.core.upstream_token import CREDENTIALS

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_DEFS: Final = "#/$defs/{name}"
_REASONS: Final = ("", *(reason.code for reason in Reason))
_TEXT: Final[Mapping[str, Any]] = {"type": "string"}
# What the types of records, which are made for speed, don't say.
_NARROWER: Final[Mapping[str, Mapping[str, Any]]] = {
    "decision": {"enum": [*Effect]},
    "reason": {"enum": [*_REASONS]},
    "mode": {"enum": ["", *Mode]},
    "proof": {"enum": ["mtls", "dpop", "dpop+mtls"]},
    "version": {"const": VERSION},
    "token_hash": {"pattern": "^([A-Za-z0-9_-]{43})?$"},
    "trace_id": {"pattern": "^([0-9a-f]{32})?$"},
    "decision_id": {"pattern": "^[0-9a-f]{32}$"},
    "request_id": {"maxLength": MAX_ID_CHARS},
    "time": {"format": "date-time"},
    "redacted": {"items": {"enum": sorted({*HashedField, *DroppedField})}},
    "actors": {"items": {"properties": {"iss": _TEXT, "sub": _TEXT}, "required": ["iss", "sub"]}},
    "shadows": {
        "items": {
            "properties": {
                "by": {"enum": [*ShadowBy]},
                "decision": {"enum": [*Effect]},
                "reason": {"enum": [*_REASONS]},
                "rule": _TEXT,
            },
            "required": ["by", "decision", "reason", "rule"],
        }
    },
    "upstream": {
        "properties": {"gets": {"enum": list(CREDENTIALS)}, "id": _TEXT, "audience": _TEXT},
        "required": ["gets", "id", "audience"],
    },
    "issuance": {
        "properties": {
            "audiences": {"type": "array", "items": _TEXT},
            "scopes": {"type": "array", "items": _TEXT},
            "consent": _TEXT,
            "token_id": _TEXT,
            "expires_at": {"type": "integer"},
            "error": _TEXT,
        },
        "required": ["audiences", "scopes"],
        "additionalProperties": False,
    },
    "calls": {
        "items": {
            "type": "object",
            "properties": {
                "method": _TEXT,
                "kind": {"enum": [*CallKind]},
                "name": _TEXT,
                "is_cut": {"const": True},
                "tools": {"type": "array", "items": _TEXT},
                "streaming": {"type": "boolean"},
            },
            "required": ["method", "kind", "name"],
            "additionalProperties": False,
        }
    },
}


_EVERYWHERE: Final = ("time", "version")  # also in lines of the log about itself


def line_schema() -> dict[str, Any]:
    """Return the JSON Schema of a line: a decision, or a line of the log about itself.

    A member that it does not have may come without another version.
    """
    record = (AuditRecord, AuditOperation, RecordEnd, LeafEnd)
    kinds = {"decision": _of_line("The record of a decision.", record)}
    for kind in (*line_members.LEAVES, *line_members.SIGNED):
        parts = (kind, LeafEnd) if kind in line_members.LEAVES else (kind,)
        kinds[kind.__name__.lower()] = _of_line(kind.__doc__ or "", parts, kind.__name__.lower())
    return {
        "$schema": _DIALECT,
        "$id": f"urn:agent-authz:audit-line:{VERSION}",
        "title": f"A line of agent-authz's audit log, version {VERSION}",
        "oneOf": [{"$ref": f"#/$defs/{name}"} for name in kinds],
        "$defs": kinds,
    }


def member_texts(of: type) -> dict[str, str]:
    """Return the docstring below each member of a type, as one line."""
    (tree,) = ast.parse(inspect.getsource(of)).body
    texts = {}
    for member, below in pairwise(getattr(tree, "body", ())):
        match member, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(str(text))):
                texts[name] = " ".join(text.split())
    return texts


def _of_line(text: str, parts: tuple[type, ...], kind: str = "") -> dict[str, Any]:
    """Return the schema of an object with the members of some types; ``kind`` is its ``audit``."""
    members: dict[str, Any] = {"audit": {"const": kind}} if kind else {}
    narrower = {name: _NARROWER[name] for name in _EVERYWHERE} if kind else _NARROWER
    required = list(members)
    for part in parts:
        texts = member_texts(part)
        for field in msgspec.structs.fields(part):
            name = field.encode_name
            made = _merged(_of_member(field.type), narrower.get(name, {}))
            members[name] = {**made, "description": texts[field.name]}
            if not _may_be_left_out(field.type):
                required.append(name)
    text = " ".join(text.split())
    return {"description": text, "type": "object", "properties": members, "required": required}


def _may_be_left_out(kind: Any) -> bool:  # noqa: ANN401 - any annotation
    return UnsetType in getattr(kind, "__args__", ())


def _of_member(kind: Any) -> dict[str, Any]:  # noqa: ANN401 - any annotation
    (made,), others = msgspec.json.schema_components([kind], ref_template=_DEFS)
    return dict(_written_out(made, others))  # each type is used once


def _written_out(made: Any, others: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(made, dict):
        if "$ref" in made:
            return _written_out(others[made["$ref"].rpartition("/")[2]], others)
        kept = {key: value for key, value in made.items() if key not in ("title", "default")}
        return {key: _written_out(value, others) for key, value in kept.items()}
    return [_written_out(each, others) for each in made] if isinstance(made, list) else made


def _merged(made: dict[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema with further words; of two objects for a word, both."""
    return {**made, **{key: _both(made.get(key), value) for key, value in more.items()}}


def _both(made: object, more: object) -> object:
    return {**made, **more} if isinstance(made, dict) and isinstance(more, dict) else more
