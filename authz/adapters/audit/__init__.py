"""The audit log: a JSON line for each decision, written by a thread that no check waits for."""

from authz.adapters.audit.log import (
    CLOSE_SECONDS,
    FLUSH_SECONDS,
    AuditError,
    AuditLog,
    AuditSettings,
    AuditStatus,
)
from authz.adapters.audit.record import (
    MAX_ID_CHARS,
    AuditLine,
    AuditOperation,
    AuditRecord,
    CacheUse,
    RecordTemplate,
    encode_operation,
    encode_record,
    encode_text,
    token_digest,
)
from authz.adapters.audit.sink import folder_of

__all__ = [
    "CLOSE_SECONDS",
    "FLUSH_SECONDS",
    "MAX_ID_CHARS",
    "AuditError",
    "AuditLine",
    "AuditLog",
    "AuditOperation",
    "AuditRecord",
    "AuditSettings",
    "AuditStatus",
    "CacheUse",
    "RecordTemplate",
    "encode_operation",
    "encode_record",
    "encode_text",
    "folder_of",
    "token_digest",
]
