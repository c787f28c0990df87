"""The sources of a config's revocations: the revocation file, and the store."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from authz.cli.entry_sources import (
    INTERRUPTED,
    EntryKind,
    FileSource,
    SourceError,
    StoreSource,
    opened_store,
)
from authz.cli.entry_sources import Listed as _Listed
from authz.cli.entry_sources import Source as _Source
from authz.config import Config
from authz.core.revocations import READER, Revocation, RevocationError
from authz.wiring.store import store_namespace

__all__ = ["INTERRUPTED", "Listed", "Source", "SourceError", "open_sources"]

Source = _Source[Revocation]
Listed = _Listed[Revocation]
_KIND: Final = EntryKind(
    READER,
    added="revoked",
    rests="when the file has rested for a second",
    if_invalid="servers do not load a file with an invalid line: mend or remove it",
)


@contextmanager
def open_sources(config: Config, only: str | None) -> Iterator[Sequence[Source]]:
    """Open the sources that a config has, the store last; ``only`` the one with this name.

    Raises RevocationError if there is none, BuildError.
    """
    sources: list[Source] = []
    with ExitStack() as opened:
        if config.revocations.file is not None and only in {None, FileSource.name}:
            sources.append(FileSource(Path(config.revocations.file), _KIND))
        if config.store is not None and only in {None, StoreSource.name}:
            store = opened.enter_context(opened_store(config, config.store))
            sources.append(StoreSource(store, READER, config.store, store_namespace(config)))
        if not sources:
            raise RevocationError(_MISSING[only])
        yield sources


_MISSING: Final = {
    None: "the config sets neither revocations.file nor store",
    FileSource.name: "the config does not set revocations.file",
    StoreSource.name: "the config does not set store",
}
