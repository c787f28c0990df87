"""Reads recorded requests: CheckRequests in any form of protobuf, and audit records."""

import re
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Final

import msgspec
from google.protobuf import json_format, text_format
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.struct_pb2 import DESCRIPTOR as STRUCT
from google.protobuf.timestamp_pb2 import DESCRIPTOR as TIMESTAMP
from msgspec import UnsetType

from authz._pb import ext_authz_pb2 as pb
from authz.adapters.audit.records.record import AuditOperation, AuditRecord
from authz.core import strict_json
from authz.core.decision import Mode
from authz.review.audit_files import AuditLogs
from authz.review.audit_records import MAX_DEPTH, RecordedCall, lost_fields

_TEXT: Final = re.compile(rb"\s*(#[^\n]*\s*)*attributes\s*[:{<]")
# Fields that have another type in the published definition, with the same form on the wire.
_PUBLISHED: Final = {
    ("TLSSession", "sni"): (FieldDescriptorProto.TYPE_STRING, ""),
    ("FilterMetadataEntry", "value"): (
        FieldDescriptorProto.TYPE_MESSAGE,
        ".google.protobuf.Struct",
    ),
}
# Nested texts reach Python's limit of calls before a limit of the parser.
_UNREADABLE: Final = (
    *(json_format.ParseError, text_format.ParseError),
    *(UnicodeDecodeError, DecodeError, RecursionError),
)
# A Timestamp's range: from the year 1 to 9999.
_FIRST_SECOND: Final = -62_135_596_800
_LAST_SECOND: Final = 253_402_300_799


class RecordedError(Exception):
    """The input is not a record; the message says why, and quotes none of it."""


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """An audit record, read back; ``mode`` is None if the request was refused before step 2."""

    record: AuditRecord
    operation: AuditOperation
    time: datetime
    calls: tuple[RecordedCall, ...] = ()
    mode: Mode | None = None


class _Ids(msgspec.Struct, frozen=True):
    decision_id: str
    time: datetime
    calls: tuple[RecordedCall, ...] = ()


def check_request(data: bytes) -> pb.CheckRequest:
    """Parse a CheckRequest in protobuf's binary, text or JSON form. Raises RecordedError.

    Envoy's fields that we do not declare are ignored.
    """
    message = _parsed(data)
    seconds = message.attributes.request.time.seconds
    if not _FIRST_SECOND <= seconds <= _LAST_SECOND:
        raise RecordedError("not a CheckRequest: its time is no Timestamp")
    return message


def _parsed(data: bytes) -> pb.CheckRequest:
    try:
        if data.lstrip().startswith(b"{"):
            message = json_format.Parse(data, _published()(), ignore_unknown_fields=True)
            return pb.CheckRequest.FromString(message.SerializeToString())
        if _TEXT.match(data):
            message = text_format.Parse(data, _published()(), allow_unknown_field=True)
            return pb.CheckRequest.FromString(message.SerializeToString())
        return pb.CheckRequest.FromString(data)
    except _UNREADABLE as e:
        raise RecordedError(f"not a CheckRequest: {type(e).__name__}") from None


@cache
def _published() -> type[Message]:
    """Return our CheckRequest with Envoy's published types, which text and JSON forms use."""
    file = FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(file)
    for message in file.message_type:
        for part in (message, *message.nested_type):
            for field in part.field:
                kind, type_name = _PUBLISHED.get((part.name, field.name), (field.type, ""))
                field.type = kind
                if type_name:
                    field.type_name = type_name
    pool = DescriptorPool()
    for needed in (STRUCT, TIMESTAMP):
        pool.AddSerializedFile(needed.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return GetMessageClass(pool.FindMessageTypeByName(pb.CheckRequest.DESCRIPTOR.full_name))


def audit_record(logs: AuditLogs, decision_id: str) -> RecordedRequest:
    """Find the record of a decision in some audit logs. Raises RecordedError, LogError."""
    wanted = decision_id.encode()
    for _, _, line in logs.lines():
        if not wanted or wanted not in line:
            continue
        try:
            ids = strict_json.load_as(line, _Ids, MAX_DEPTH)
            if ids.decision_id == decision_id:
                record = strict_json.load_as(line, AuditRecord, MAX_DEPTH)
                operation = strict_json.load_as(line, AuditOperation, MAX_DEPTH)
                _require_whole(record)
                mode = Mode(record.mode) if record.mode else None
                return RecordedRequest(record, operation, ids.time, ids.calls, mode)
        except ValueError:
            continue  # a line that was cut off, or not ours
    raise RecordedError(f"there is no record of the decision {decision_id!r}")


def _require_whole(record: AuditRecord) -> None:
    """Refuse a record without the fields that decisions read. Raises RecordedError."""
    lost = lost_fields(() if isinstance(record.redacted, UnsetType) else record.redacted)
    if lost:
        raise RecordedError(
            f"the record can't be explained: audit.redact has redacted its {', '.join(lost)}"
        )
