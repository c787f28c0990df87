"""Make the page of the audit record's fields, from the records' docstrings."""

import ast
import inspect
from itertools import pairwise
from typing import Final

from authz.adapters.audit.record import AuditOperation, AuditRecord
from generating.marks import MADE

COMPLETED: Final = {
    "time": "The time at which the check was answered, RFC 3339 in UTC.",
    "request_id": "The request's `x-request-id`, 128 characters at most; clients may choose it.",
    "trace_id": "The trace id of the request's `traceparent`.",
    "decision_id": "Also in the answer, the metadata and `x-agent-decision-id`.",
    "cache": "`hit` when the decision was remembered.",
    "duration_us": "From the check's bytes to its answer, in microseconds.",
}


def audit_page() -> str:
    """Return the page."""
    lines = ["# Audit record\n\n" + MADE, f"{AuditRecord.__doc__}\n\n"]
    lines.append("One JSON object a line. The token and the query are not in it.\n\n")
    lines.append("| field | meaning |\n|---|---|\n")
    for texts in (_field_texts(AuditRecord), _field_texts(AuditOperation), COMPLETED):
        lines.extend(f"| `{name}` | {text} |\n" for name, text in texts.items())
    return "".join(lines)


def _field_texts(of: type) -> dict[str, str]:
    """The docstring below each field of a class."""
    body = ast.parse(inspect.getsource(of)).body[0].body  # type: ignore[attr-defined]
    texts = {}
    for field, below in pairwise(body):
        match field, below:
            case ast.AnnAssign(ast.Name(name)), ast.Expr(ast.Constant(str(text))):
                texts[name] = " ".join(text.split())
    return texts
