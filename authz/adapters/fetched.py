"""A document that was fetched, and the error of a fetch: loaded without what fetches."""

from dataclasses import dataclass


class FetchError(Exception):
    """Signals that a document can't be fetched; the message says why, and quotes no content."""


@dataclass(frozen=True, slots=True)
class FetchedDocument:
    """A document, and its max-age (RFC 9111 section 5.2.2.1), None if its sender names none."""

    body: bytes
    max_age_seconds: float | None = None
