"""Make the page of the audit record's fields, from the records' docstrings."""

from authz.adapters.audit.records import line_members
from authz.adapters.audit.records.line_members import LeafEnd, RecordEnd
from authz.adapters.audit.records.record import AuditOperation, AuditRecord
from authz.adapters.audit.records.schema import member_texts
from generating.marks import MADE

FIELDS = "| field | meaning |\n|---|---|\n"


def audit_page() -> str:
    """Return the page."""
    lines = ["# Audit record\n\n" + MADE, f"{AuditRecord.__doc__}\n\n"]
    lines.append("One JSON object a line. The token and the query are not in it.\n")
    lines.append(
        "`authz audit schema` prints the [JSON Schema](../audit-record.schema.json), and\n"
    )
    lines.append("[the mapping](audit-mapping.md) has other standards' names of the fields.\n\n")
    lines.append(FIELDS)
    lines += [_rows(part) for part in (AuditRecord, AuditOperation, RecordEnd, LeafEnd)]
    lines.append("\n## Lines of the log about itself\n\n")
    lines.append("With `audit.chain`. Such a line has the member `audit`, and no `decision`.\n")
    for kind in (*line_members.LEAVES, *line_members.SIGNED):
        more = "" if kind in line_members.SIGNED else " Also `log` and `index`, as above."
        name = kind.__name__.lower()
        lines.append(f'\n### {name}\n\n`"audit": "{name}"`. {kind.__doc__}{more}\n\n{FIELDS}')
        lines.append(_rows(kind))
    return "".join(lines)


def _rows(of: type) -> str:
    names = {"begin": "from", "end": "to"} if of is line_members.Gap else {}
    texts = member_texts(of)
    return "".join(f"| `{names.get(name, name)}` | {text} |\n" for name, text in texts.items())
