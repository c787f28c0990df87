"""Makes lines of an audit log as servers write them, and files of such lines."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from authz.adapters.audit.records.line import AuditLine
from authz.adapters.audit.records.record import (
    AuditOperation,
    AuditRecord,
    encode_operation,
    encode_record,
)

START = 1_764_400_000.0  # 2025-11-29T07:06:40Z
AGENT = "spiffe://corp.example/ns/agents/sa/travel"
_RECORD = AuditRecord(
    decision="allow",
    reason="",
    detail="",
    agent=AGENT,
    principal="alice",
    issuer="https://as.corp.example",
    actors=[{"iss": "https://as.corp.example", "sub": AGENT}],
    mode="act",
    flags=[],
    scopes=["balance:read"],
    rule="finance-read/0",
    principal_rule="finance-read/0",
    policy_version="0011223344556677",
    token_id="",
    by_policy=True,
)
_OPERATION = AuditOperation("GET", "mcp.corp.example", "/finance/balance", "")


def audit_line(number: int, **changes: Any) -> bytes:
    """Return the line of a record that is so many seconds after START, with some other members.

    Its decision ID is "d-NUMBER". ``tool`` makes it a message with a call of this tool.
    """
    if tool := changes.pop("tool", ""):
        call = {"method": "tools/call", "kind": "tool", "name": tool}
        changes |= {"protocol": "mcp", "calls": (call,)}
    if changes.get("reason"):
        changes = {"decision": "deny", "rule": "", "principal_rule": "", **changes}
    of_record = {k: v for k, v in changes.items() if k in AuditRecord.__struct_fields__}
    of_operation = {k: v for k, v in changes.items() if k in AuditOperation.__struct_fields__}
    assert len(of_record) + len(of_operation) == len(changes), changes
    line = AuditLine(
        encode_record(msgspec.structs.replace(_RECORD, **of_record)),
        encode_operation(msgspec.structs.replace(_OPERATION, **of_operation)),
        START + number,
        "",
        "",
        f"d-{number}",
        number % 2 == 1,
        1e-6 * number,
    )
    return line.encode()


def write_log(path: Path, lines: Iterable[bytes]) -> Path:
    """Write a log of lines."""
    path.write_bytes(b"".join(lines))
    return path
