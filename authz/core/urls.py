"""URLs of other servers, as the config and discovery documents write them: checked before use."""

import re
from typing import Final
from urllib.parse import urlsplit

# What a URL is written in. urlsplit() would drop tabs and line ends without a word.
_URL_CHARACTERS: Final = re.compile(r"[!-~]{1,2048}")


def check_url(text: str) -> str:
    """An http(s) URL that names a host and no secret. Raises ValueError."""
    if not _URL_CHARACTERS.fullmatch(text):
        raise ValueError("an https:// URL of visible ASCII characters is needed")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:  # in the library's words, which are not for operators
        raise ValueError("a URL with a host and, if any, a number as its port is needed") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("an https:// URL is needed")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ValueError("a URL without user, password and fragment is needed")
    if port == 0:
        raise ValueError("port 0 is none")
    return text


def is_plain(url: str) -> bool:
    """Whether the URL's traffic can be changed on its way."""
    return urlsplit(url).scheme != "https"
