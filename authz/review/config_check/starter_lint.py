"""Warns about issuers for trying, whose keys ``authz init`` made."""

from collections.abc import Iterator
from typing import Final

from authz.adapters.files import read_between
from authz.config import Config, Place
from authz.core.jose.settings import MAX_DOCUMENT_BYTES
from authz.starter.marks import TRY_OUT_ISSUER, has_try_out_key

_MESSAGE: Final = (
    "authz init made its key, for trying: anybody who can read issuer.jwk can make its tokens"
)


def starter_warnings(config: Config) -> Iterator[tuple[Place, str]]:
    """Yield each issuer that has the try-out issuer's name, or a try-out key in its file."""
    for at, issuer in enumerate(config.issuers):
        file = issuer.keys.file if issuer.keys is not None else None
        if issuer.issuer == TRY_OUT_ISSUER or (file is not None and _has_try_out_key(file)):
            yield ("issuers", at, "issuer"), _MESSAGE


def _has_try_out_key(path: str) -> bool:
    try:
        return has_try_out_key(read_between(path, MAX_DOCUMENT_BYTES))
    except OSError:
        return False  # another check says why
