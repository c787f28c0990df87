"""Warns about a file of consents that has lines which are none, or that nobody asks for."""

from collections.abc import Iterator

from authz.adapters.files import read_between
from authz.config import Config, Place
from authz.core.entry_lines import MAX_BYTES, EntryError

_MOST = 20  # lines that are told

Warnings = Iterator[tuple[Place, str]]


def consent_warnings(config: Config) -> Warnings:
    """Yield what is doubtful in section consents, and the warning."""
    file = config.consents.file
    if file is None:
        return
    if config.sts is None:
        yield ("consents", "file"), "only the token service asks for consents, and there is no sts"
    yield from ((("consents", "file"), message) for message in _invalid(file))


def _invalid(file: str) -> Iterator[str]:
    from authz.adapters.consents.file import MAX_FILE_BYTES  # noqa: PLC0415 - for few configs
    from authz.core.consents import READER  # noqa: PLC0415 - likewise

    try:
        data = read_between(file, MAX_BYTES)
        read = list(READER.read_all(data))
    except (OSError, EntryError):  # told as a problem of the file
        return
    if len(data) > MAX_FILE_BYTES:
        yield f"{file} has more than {MAX_FILE_BYTES} bytes, so none of it counts: use a store"
    bad = [(number, each) for number, each in read if isinstance(each, EntryError)]
    for number, why in bad[:_MOST]:
        yield f"line {number} of {file} is no consent: {why}"
    if len(bad) > _MOST:
        yield f"{len(bad) - _MOST} more lines of {file} are no consents"
