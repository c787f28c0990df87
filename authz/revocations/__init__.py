"""What was revoked before its time: the file's entries, the file watched, and a line more."""

from authz.revocations.entries import Revocation, RevocationError, Revocations, parse
from authz.revocations.watched import RevocationList, RevocationSettings
from authz.revocations.writing import append

__all__ = [
    "Revocation",
    "RevocationError",
    "RevocationList",
    "RevocationSettings",
    "Revocations",
    "append",
    "parse",
]
