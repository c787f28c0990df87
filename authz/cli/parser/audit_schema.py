"""The arguments of the verb audit schema."""

from typing import TYPE_CHECKING

from authz.cli.parser.adding import add_verb, end_help

if TYPE_CHECKING:
    from authz.cli.parser.adding import Verbs


def add_schema_verb(inner: "Verbs") -> None:
    """Add the verb schema to the group audit."""
    schema = add_verb(
        inner,
        "audit_schema",
        "schema",
        "print the JSON Schema of the audit log's lines",
        "Print the JSON Schema of the audit log's lines: of records, and of the lines that the log "
        "writes about itself.",
    )
    end_help(
        schema,
        "authz audit schema > audit-record.schema.json",
        status="0 it was printed, 2 usage",
    )
