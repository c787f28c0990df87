"""Puts a whole file of revocations into force at once, as a server does line by line."""

from authz.core.entry_lines import EntryError
from authz.core.revocation_table import Revocations
from authz.core.revocations import RevocationError, read_entries


def parse(data: bytes) -> Revocations:
    """Compile a file's bytes. Raises RevocationError with the first bad line."""
    revocations = Revocations()
    for number, entry in read_entries(data):
        if isinstance(entry, EntryError):
            raise RevocationError(f"line {number}: {entry}")
        revocations.add(entry.line, entry)
    return revocations
