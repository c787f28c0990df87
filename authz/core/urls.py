"""Checks of the URLs of other servers, from the config and from discovery documents."""

import re
from typing import Final
from urllib.parse import urlsplit

HTTP_PORT: Final = 80
HTTPS_PORT: Final = 443
# The characters of a URL. urlsplit() would silently drop tabs and line ends.
_URL_CHARACTERS: Final = re.compile(r"[!-~]{1,2048}")


def check_url(text: str) -> str:
    """Return the text if it is an http(s) URL with a host and no secret. Raises ValueError."""
    if not _URL_CHARACTERS.fullmatch(text):
        raise ValueError("must be an https:// URL of visible ASCII characters")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:  # the library's message is not for operators
        raise ValueError(
            "must be a URL with a host and, if it has a port, a numeric port"
        ) from None
    if "${" in text:
        raise ValueError("must be an https:// URL: nothing expands ${ }, so write the value itself")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an https:// URL, such as https://as.corp.example/jwks")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ValueError("must be a URL without user, password and fragment")
    if port == 0:
        raise ValueError("must not have port 0")
    return text


def is_plaintext(url: str) -> bool:
    """Tell whether the URL's traffic is not protected by TLS."""
    return urlsplit(url).scheme != "https"


def origin(url: str) -> tuple[str, str, int]:
    """Return the origin of a checked URL: its scheme, host and port (RFC 6454 section 4)."""
    parts = urlsplit(url)
    default = HTTPS_PORT if parts.scheme == "https" else HTTP_PORT
    return parts.scheme, parts.hostname or "", parts.port or default
