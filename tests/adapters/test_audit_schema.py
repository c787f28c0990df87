"""The JSON Schema of the audit log's lines."""

import json
from pathlib import Path

import msgspec
import pytest
from jsonschema import Draft202012Validator

from authz.adapters.audit.records.line_members import LeafEnd, RecordEnd
from authz.adapters.audit.records.record import AuditOperation, AuditRecord
from authz.adapters.audit.records.schema import line_schema
from support.audit_schema import faults
from support.verbs import run
from support.world import World

OWN_LINES = [
    {
        "audit": "opened",
        "time": "2026-11-29T16:45:00.000000Z",
        "version": 1,
        "server": "a",
        "worker": 0,
        "workers": 2,
        "run": "0" * 16,
        "previous": [{"log": "a/0/b", "size": 3, "root": "AA=="}],
        "log": "a/0/c",
        "index": 0,
    },
    {"audit": "dropped", "count": 17, "since": "t", "until": "t", "log": "a/0/c", "index": 1},
    {"audit": "closed", "reason": "stopped", "time": "t", "log": "a/0/c", "index": 2},
    {
        "audit": "closed",
        "reason": "crashed",
        "recovered_by": "a/0/d",
        "after": 7,
        "time": "t",
        "log": "a/0/c",
        "index": 8,
    },
    {"audit": "checkpoint", "time": "t", "log": "a/0/c", "size": 3, "tree": ["AA=="]}
    | {"checkpoint": "note"},
    {"audit": "gap", "log": "a/0/c", "from": 1, "to": 2, "hashes": [], "sink": "s", "gap": "note"},
]


@pytest.mark.parametrize(
    "line", OWN_LINES, ids=lambda line: f"{line['audit']} {line.get('reason', '')}"
)
def test_lines_of_the_log_about_itself(line: dict[str, object]) -> None:
    """Each kind is in the schema, and none is a record; a member too few or too many is told."""
    text = json.dumps(line)
    assert faults(text) == []
    assert Draft202012Validator(line_schema()).is_valid(line)
    for name in line.keys() - {"audit", "recovered_by", "after", "log", "index"}:
        assert faults(json.dumps({key: value for key, value in line.items() if key != name}))
    assert faults(json.dumps({**line, "decision": "allow"}))


def test_records(world: World) -> None:
    """A record has exactly the members that the schema describes, and wrong values are told."""
    world.ask(world.token())
    world.ask(world.token(scope="other"))
    allow, deny = world.audit_records()
    described = line_schema()["$defs"]["decision"]
    parts = (AuditRecord, AuditOperation, RecordEnd, LeafEnd)
    fields = {field.name for part in parts for field in msgspec.structs.fields(part)}

    assert set(described["properties"]) == fields
    assert all(member["description"] for member in described["properties"].values())
    assert set(described["required"]) <= allow.keys()
    assert deny.keys() - allow.keys() == {"status", "challenge"}
    assert Draft202012Validator(line_schema()).is_valid(allow)
    for name, value in (("reason", "x"), ("version", 2), ("calls", [{}]), ("token_hash", "a.b.c")):
        assert faults(json.dumps({**allow, name: value})), name


def test_the_verb(capsys: pytest.CaptureFixture[str]) -> None:
    """The command prints the schema that stands in the docs."""
    assert run("audit", "schema") == 0
    printed = capsys.readouterr().out
    assert printed == Path("docs/audit-record.schema.json").read_text()
