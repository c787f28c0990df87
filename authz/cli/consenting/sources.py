"""The sources of a config's consents: the file of consents, and the store."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from authz.adapters.consents.file import MAX_FILE_BYTES
from authz.cli.entry_sources import EntryKind, FileSource, Source, StoreSource, opened_store
from authz.config import Config
from authz.core.consents import READER, Consent, ConsentError
from authz.wiring.store import store_namespace

KIND: Final = EntryKind(
    READER,
    added="given",
    rests="at once",
    if_invalid="an invalid line is no consent: mend or remove it",
    is_tolerant=True,
    max_bytes=MAX_FILE_BYTES,
)
_MISSING: Final = {
    None: "the config sets neither consents.file nor store",
    FileSource.name: "the config does not set consents.file",
    StoreSource.name: "the config does not set store",
}


@contextmanager
def open_sources(config: Config, only: str | None) -> Iterator[Sequence[Source[Consent]]]:
    """Open the sources that a config has, the store last; ``only`` the one with this name.

    Raises ConsentError if there is none, BuildError.
    """
    sources: list[Source[Consent]] = []
    with ExitStack() as opened:
        if config.consents.file is not None and only in {None, FileSource.name}:
            sources.append(FileSource(Path(config.consents.file), KIND))
        if config.store is not None and only in {None, StoreSource.name}:
            store = opened.enter_context(opened_store(config, config.store))
            namespace = store_namespace(config)
            sources.append(StoreSource(store.consents, READER, config.store, namespace))
        if not sources:
            raise ConsentError(_MISSING[only])
        yield sources
