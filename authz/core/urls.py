"""URLs of other servers, as the config and discovery documents write them: checked before use."""

import re
from typing import Final
from urllib.parse import urlsplit

# What a URL is written in. urlsplit() would drop tabs and line ends without a word.
_URL_CHARACTERS: Final = re.compile(r"[!-~]{1,2048}")


def check_url(text: str) -> str:
    """An http(s) URL that names a host and no secret. Raises ValueError."""
    if not _URL_CHARACTERS.fullmatch(text):
        raise ValueError("must be an https:// URL of visible ASCII characters")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:  # in the library's words, which are not for operators
        raise ValueError(
            "must be a URL with a host and, if it has a port, a numeric port"
        ) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an https:// URL")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ValueError("must be a URL without user, password and fragment")
    if port == 0:
        raise ValueError("must not have port 0")
    return text


def is_plaintext(url: str) -> bool:
    """Whether the URL's traffic can be changed on its way."""
    return urlsplit(url).scheme != "https"
