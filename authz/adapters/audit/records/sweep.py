"""Replaces secret texts wherever other texts hold them: what redaction searches records with."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote

# A shorter text is replaced where it stands alone only: it is a part of many others by chance.
_MIN_PART_CHARS: Final = 6
Secret = tuple[str, str]
"""A text that must not be in a record, and the text that stands for it."""


def sweep(text: str, secrets: Iterable[Secret]) -> str:
    """Return the text without the secrets, in any case, percent-encoded (RFC 3986) or not."""
    for secret, stand_in in secrets:
        for form in _forms(secret) if "%" in text else (secret,):
            text = _replaced(text, form, stand_in)
    return text


def sweep_values(value: Any, secrets: list[Secret]) -> Any:  # noqa: ANN401 - any JSON
    """Return JSON in which no text and no name holds a secret."""
    if isinstance(value, str):
        return sweep(value, secrets)
    if isinstance(value, Mapping):
        return {sweep(key, secrets): sweep_values(each, secrets) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [sweep_values(each, secrets) for each in value]
    return value


def texts_in(value: object) -> Iterator[str]:
    """Yield all texts and numbers in JSON, and no names."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for each in value:
            yield from texts_in(each)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def _forms(secret: str) -> tuple[str, ...]:
    """Return a secret's forms in a URL: as it is, as a whole segment, and with its slashes."""
    return (secret, quote(secret, safe="", errors="replace"), quote(secret, errors="replace"))


def _replaced(text: str, secret: str, stand_in: str) -> str:
    folded = secret.casefold()
    if folded not in text.casefold():  # as nearly always, and far cheaper than a pattern
        return text
    if len(secret) < _MIN_PART_CHARS:
        return _substituted(rf"(?<!\w){re.escape(secret)}(?!\w)", text, stand_in)
    found = _substituted(re.escape(secret), text, stand_in)
    # A pattern compares letter by letter, so it misses those that fold to several, such as ß.
    return stand_in if found == text else found


def _substituted(pattern: str, text: str, stand_in: str) -> str:
    return re.sub(pattern, lambda _: stand_in, text, flags=re.IGNORECASE)
