"""What operators' tools read has one reading: a member that stands twice is an error there too."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from authz.core.strict_json import StrictJsonError, load_as
from authz.review.audit_files import AuditLogs
from authz.review.audit_records import read_records
from authz.review.explain import RecordedError, audit_record
from support.world import World

MEMBERS = ("decision", "agent", "rule", "time", "decision_id", "unread")


class Thing(msgspec.Struct):
    """A type to read into."""

    name: str
    number: float = 0.0


def test_typed_values() -> None:
    """A value of a type is read as strictly as any, and its type is checked."""
    assert load_as(b'{"name":"a","number":1}', Thing) == Thing("a", 1.0)
    for data, words in (
        (b'{"name":"a","name":"b"}', "a member name occurs twice"),
        (b'{"name":"a","n\\u0061me":"b"}', "a member name occurs twice"),
        (b'{"name":"a","more":{"x":1,"x":2}}', "a member name occurs twice"),
        (b'{"name":"a","number":NaN}', "not JSON"),
        (b'{"name":1}', "Expected `str`"),
        (b"[]", "Expected `object`"),
    ):
        with pytest.raises(StrictJsonError, match=words):
            load_as(data, Thing)


@pytest.mark.parametrize("member", MEMBERS)
@pytest.mark.parametrize("is_last", [True, False])
def test_audit_records(shared_world: World, tmp_path: Path, member: str, *, is_last: bool) -> None:
    """A record of two readings is none, for a replay, for suggestions and for explain."""
    shared_world.ask(shared_world.token())
    record: dict[str, Any] = shared_world.audit_records()[-1]
    more = f'"{member}":{json.dumps(record.get(member, ""))}'
    twice = json.dumps({"unread": 1, **record})
    twice = f"{twice[:-1]},{more}}}" if is_last else f"{{{more},{twice[1:]}"
    path = tmp_path / "audit.jsonl"
    path.write_text(f"{json.dumps(record)}\n{twice}\n")
    with AuditLogs([path]) as logs:
        (_, _, good), (_, _, bad) = read_records(logs)
        assert not isinstance(good, str)
        assert bad == "not an audit record: a member name occurs twice"
    path.write_text(f"{twice}\n")
    with AuditLogs([path]) as logs, pytest.raises(RecordedError):
        audit_record(logs, record["decision_id"])
