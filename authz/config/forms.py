"""The forms of the config's texts: each in words, and the corrections of usual mistakes."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Final

_NAME: Final = "a name of letters, digits, '.', '_' and '-', such as orders-read"
_SCOPE: Final = "one word of visible characters without quotes and backslashes, as in [orders:read]"
_MEMBER: Final = "the name of a member: letters, digits and _ . -, 64 at most"
_METHOD: Final = r"^([A-Z][A-Z-]{0,31}|\*)$"
_LISTEN: Final = r"^(unix:/.+|[^/\s]+:([0-9]|\{worker\}){1,5})$"
_HOST_AND_PORT: Final = r"^[^/\s]+:[0-9]{1,5}$"
_SOCKET: Final = r"^unix:/.+"
_PREFIX: Final = r"^[a-z][a-z0-9-]{0,30}-$"
_HEADER: Final = r"^[a-z0-9-]{1,64}$"
_PATH: Final = r"^/[A-Za-z0-9._~/-]{0,255}$"
_RULE_HEADER: Final = r"^[a-z0-9_-]{1,64}$"
_ADDED: Final = r"^[a-z][a-z0-9]{0,31}(-[a-z0-9]{1,32}){0,6}$"
_REMOVED: Final = r"^[a-z][a-z0-9]{0,31}(-[a-z0-9]{1,32}){0,6}(-?\*)?$"
_RECEIVER: Final = r"^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9][A-Za-z0-9._-]{0,253}):[0-9]{1,5}$"
_WORDS: Final = (r"^[\x21\x23-\x5b\x5d-\x7e]+$", r"^[\x21\x23-\x5b\x5d-\x7e]{1,256}$")
# The meaning of each pattern of the settings types; test_config_errors.py requires all of them.
PATTERNS: Final[Mapping[str, str]] = MappingProxyType(
    {
        r"^[A-Za-z0-9._-]{1,128}$": _NAME,
        r"^[A-Za-z0-9_.-]{1,64}$": _MEMBER,
        **dict.fromkeys(_WORDS, _SCOPE),
        r"^[\x21\x23-\x5b\x5d-\x7e]{1,512}$": "a URL or a name, without blanks and quotes",
        r"^[\x21-\x7e]{1,128}$": "one word of visible characters, 128 at most",
        r"^[!-~]{1,1024}$": "one word of visible ASCII characters, 1024 at most",
        r"^([A-Za-z0-9._~-]{1,63}[:/|])?$": (
            "up to 63 of A-Z, a-z, 0-9, '.', '_', '~' and '-', and then ':', '/' or '|', such as"
            " partner:"
        ),
        _METHOD: 'a method in capitals, such as GET, or "*" for any',
        _LISTEN: 'an address, such as "unix:/run/authz/authz.sock" or "127.0.0.1:9191"',
        _HOST_AND_PORT: 'an address with a port, such as "127.0.0.1:9192"',
        _RECEIVER: 'host:port, such as "siem.corp.example:6514" or "[2001:db8::1]:6514"',
        r"^[a-z0-9][a-z0-9-]{0,31}$": "lower-case letters, digits and '-', 32 at most: siem",
        r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$": "letters, digits, '.', '_' and '-': authz-0",
        _SOCKET: "an address such as unix:/run/spire/agent.sock",
        _PREFIX: "lower-case letters, digits and '-', '-' at the end: x-agent-",
        _HEADER: "a header's name in lower case, such as authorization",
        r"^[A-Za-z0-9-]{0,32}$": "one word, such as Bearer",
        r"^[A-Za-z_][A-Za-z0-9._-]{0,127}$": "letters, digits, '.', '_' and '-', a letter first",
        _ADDED: "a header's name in lower case, such as x-agent-department",
        _REMOVED: "a header's name in lower case, or its beginning with '*', such as x-user-*",
        r"^([A-Za-z0-9._~-]{1,63}[:/|])?$": "letters and digits with :, / or | at the end, such as corp:",
        r"^[!-~]{1,1024}$": "one word of visible characters, such as a URL",
        r"^([A-Za-z0-9._~-]{1,63}[:/|])?$": "letters, digits and . _ ~ -, with : / or | at the end: corp:",
        r"^[!-~]{1,1024}$": "one word of visible characters, such as a URL",
        r"^[A-Za-z0-9._~+/-]{1,64}$": "the first characters of a token, such as ory_at_",
        _RULE_HEADER: "a header's name in lower case, such as x-env",
        _PATH: "a path of letters, digits and . _ ~ / -, such as /signals/corp",
    }
)
_SEPARATORS: Final = re.compile(r"[|,;\s]+")
_SCHEME: Final = re.compile(r"\A[a-z]+://")


def _address(port: int, text: str) -> list[str]:
    """Return the address that a socket's path, a port or a host alone may mean."""
    bare = _SCHEME.sub("", text).strip("/" if "://" in text else "")
    if bare.startswith("/"):
        return [f"unix:{bare}"]
    if bare.lstrip(":").isdecimal():
        return [f"127.0.0.1:{bare.lstrip(':')}"]
    return [bare if ":" in bare else f"{bare}:{port}"]


def _upper(text: str) -> list[str]:
    return _SEPARATORS.split(text.upper())


def _lower(text: str) -> list[str]:
    return [text.lower()]


def _prefix(text: str) -> list[str]:
    return [text.lower().rstrip("-") + "-"]


# The possible meanings of a text that does not have the form: one text or several.
_MEANT: Final[Mapping[str, Callable[[str], list[str]]]] = MappingProxyType(
    {
        **dict.fromkeys(_WORDS, str.split),
        _METHOD: _upper,
        _LISTEN: partial(_address, 9191),
        _HOST_AND_PORT: partial(_address, 9192),
        _PREFIX: _prefix,
        _RECEIVER: partial(_address, 6514),
        **dict.fromkeys((_HEADER, _RULE_HEADER, _ADDED, _REMOVED), _lower),
    }
)


def meant(pattern: str, text: str) -> list[str]:
    """Return the texts in the right form that an invalid text may mean; empty if unsure."""
    found = _MEANT[pattern](text) if pattern in _MEANT else []
    return found if all(re.fullmatch(pattern, one) for one in found) else []
