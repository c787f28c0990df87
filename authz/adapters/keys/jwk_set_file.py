"""A JWK Set in a file, as a source of keys: loaded without what fetches from elsewhere."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from authz.adapters.fetched import FetchedDocument, FetchError
from authz.adapters.files import read_between
from authz.core.jose.jwk import Key, parse_key_set
from authz.core.jose.settings import MAX_DOCUMENT_BYTES

# The usable keys by kid, and (kid, why) of the others.
ParsedKeys = tuple[Mapping[str, Key], tuple[tuple[str, str], ...]]


class JwkSetFile:
    """A file with an issuer's JWK Set."""

    anchor: Final = ""

    def __init__(self, path: Path, issuer: str) -> None:
        """Take the file and the issuer's URL; nothing is read yet."""
        self._path = path
        self._issuer = issuer

    def fetch(self) -> FetchedDocument:
        """Return the document. Raises FetchError."""
        return FetchedDocument(read_file(self._path))

    def parse(self, document: bytes, algorithms: frozenset[str]) -> ParsedKeys:
        """Return the keys as ``parse_key_set``. Raises KeySetError, also without a usable key."""
        return parse_key_set(document, algorithms, self._issuer)

    def parse_kept(self, document: bytes, anchor: str, algorithms: frozenset[str]) -> ParsedKeys:
        """Return the keys of a document that was kept on disk, as ``parse``."""
        del anchor
        return self.parse(document, algorithms)

    def close(self) -> None:
        """Do nothing: nothing stays open."""


def read_file(path: Path) -> bytes:
    """Read a document from a file. Raises FetchError.

    Any change counts at once: half of a JSON document is not JSON, and can't pass for the whole.
    """
    try:
        data = read_between(path, MAX_DOCUMENT_BYTES)
    except OSError as error:
        raise FetchError(f"{path}: {error.strerror}") from None
    if len(data) > MAX_DOCUMENT_BYTES:
        raise FetchError(f"{path}: larger than {MAX_DOCUMENT_BYTES} bytes")
    return data
