"""Replaces secret texts wherever other texts hold them: what redaction searches records with.

An agent chooses paths, headers and names of tools, and may spell a text so that it is read behind
us and not found here. So texts are searched as their readers may decode them, too.
"""

import html
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote, unquote

# A shorter text is replaced where it stands alone only: it is a part of many others by chance.
_MIN_PART_CHARS: Final = 6
_MAX_LAYERS: Final = 4  # of encoding; what has more was made to hide something
_CODED: Final = re.compile(r"[%\\&+]")
_ESCAPE: Final = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)  # RFC 8259 section 7
Secret = tuple[str, str]
"""A text that must not be in a record, and the text that stands for it."""


def sweep(text: str, secrets: Iterable[Secret]) -> str:
    """Return the text without the secrets, in any case, percent-encoded (RFC 3986) or not.

    A text that holds one in another spelling, as in escapes of JSON or HTML, is replaced in whole.
    """
    secrets = tuple(secrets)
    for secret, stand_in in secrets:
        for form in _forms(secret) if "%" in text else (secret,):
            text = _replaced(text, form, stand_in)
    if not secrets or not _may_hide(text, secrets):
        return text
    letters = _letters(text)
    return next((stand_in for secret, stand_in in secrets if _hides(letters, secret)), text)


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
    # A pattern compares letter by letter, so it misses those that fold to several, such as ß;
    # ``_hides`` finds them.
    return _substituted(re.escape(secret), text, stand_in)


def _may_hide(text: str, secrets: Iterable[Secret]) -> bool:
    is_plain = text.isascii() and all(secret.isascii() for secret, _ in secrets)
    return not is_plain or _CODED.search(text) is not None


def _hides(letters: str | None, secret: str) -> bool:
    """Tell whether a text of these letters holds a secret, or has too many layers to tell."""
    if letters is None:
        return True
    folded = _letters(secret) or secret
    if len(secret) < _MIN_PART_CHARS:
        return re.search(rf"(?<!\w){re.escape(folded)}(?!\w)", letters) is not None
    return folded in letters


def _letters(text: str) -> str | None:
    """Return a text's letters: decoded, without case or form; None if it has too many layers."""
    for _ in range(_MAX_LAYERS):
        decoded = html.unescape(_unescaped(unquote(text)))
        if decoded == text:
            return unicodedata.normalize("NFKD", text.replace("+", " ")).casefold()
        text = decoded
    return None


def _unescaped(text: str) -> str:
    if "\\" not in text:
        return text
    found = _ESCAPE.sub(lambda it: chr(int(it[1], 16)) if it[1] else it[2], text)
    # Escapes of letters beyond U+FFFF come in pairs (RFC 8259 section 7).
    return found.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _substituted(pattern: str, text: str, stand_in: str) -> str:
    return re.sub(pattern, lambda _: stand_in, text, flags=re.IGNORECASE)
