"""The base of every settings type, strict and frozen, and the config's own value types.

A settings type is validated from the YAML loader's data, in which lists are tuples, so that nothing
needs coercion.
"""

import re
from datetime import datetime
from typing import Annotated, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
)

_DURATION: Final = re.compile(r"([0-9]{1,9})(ms|s|m|h|d)")
_MAX_PORT: Final = 65535
_UNIX: Final = "unix:"
# A key or a CA, JSON, or a token: a JWT (RFC 7515 section 7.1), or with its scheme.
_CONTENT: Final = re.compile(
    r"-----BEGIN |[\n\r]|\A\s*(?:\{|(?i:bearer|dpop)\s|eyJ[A-Za-z0-9_-]{8,}(?:\.|\Z))"
)
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Settings(BaseModel):
    """A section of the config: unknown keys and coerced types are errors.

    The docstring below a key describes it in the JSON Schema (``authz.config.described``).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class MisfitError(ValueError):
    """A key that does not fit the rest of its section; ``place`` is its path in the section."""

    def __init__(self, message: str, *place: str | int) -> None:
        """Say what would be right in ``message``, and the steps to the key in ``place``."""
        super().__init__(message)
        self.place = place


def parse_duration(value: object) -> float:
    """Return the seconds of "250ms", "30s", "5m", "1h" or "1d". Raises ValueError."""
    if isinstance(value, float):
        return value
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        is_bare = isinstance(value, int) and not isinstance(value, bool) and value >= 0
        cure = f": write {value}s for seconds" if is_bare else ""
        raise ValueError(
            f"a duration must be a whole number and a unit, such as 250ms, 30s, 5m, 1h, 1d{cure}"
        )
    return int(match[1]) * _SECONDS[match[2]]


def _port_exists(address: str) -> str:
    host, _, port = address.rpartition(":")
    if ":" in host and not address.startswith((_UNIX, "[")):
        raise ValueError(f"an IPv6 address stands in brackets: write [{host}]:{port}")
    if port.isdecimal() and int(port) > _MAX_PORT:
        raise ValueError(f"there is no port {port}: the last is {_MAX_PORT}")
    return address


PortExists = AfterValidator(_port_exists)
"""For settings: an address whose port, if given, is valid."""


def _can_be_reached(address: str) -> str:
    if not int(address.rpartition(":")[2]):
        raise ValueError("there is no port 0: name the port at which the server listens")
    return address


RemoteAddress = Annotated[
    str,
    Field(pattern=r"^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9][A-Za-z0-9._-]{0,253}):[0-9]{1,5}$"),
    PortExists,
    AfterValidator(_can_be_reached),
]
"""For settings: host:port of another server."""


def _is_path(text: str) -> str:
    """Refuse a file's content in place of its path, without repeating it: it may be a key."""
    if _CONTENT.search(text):
        raise ValueError(
            "must be the path of a file: write the text into a file, and name the file here"
        )
    return text


class NamedFile:
    """A mark for settings that name a file, which must exist."""


FileText = Annotated[str, Field(min_length=1), AfterValidator(_is_path), NamedFile()]
"""For settings: the path of a file that is read; ``authz check`` tests whether it can be read."""


class LaterFile:
    """A mark for settings that name a file that may be missing where the config is checked."""


LaterFileText = Annotated[str, Field(min_length=1), AfterValidator(_is_path), LaterFile()]
"""For settings: the path of a file that exists when the server runs, such as a token that is
mounted into its container; ``authz check`` warns if it can't be read.
"""

Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]{1,9}(ms|s|m|h|d)$"}),
]


def _moment(value: object) -> object:
    if isinstance(value, datetime):
        return value
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError("a moment is RFC 3339 with a zone, such as 2026-12-31T18:00:00Z")
    return moment


Moment = Annotated[
    datetime,
    BeforeValidator(_moment),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""For settings: a moment in time."""


class ClientCertificateSettings(Settings):
    """A certificate that the server shows as a client, for mutual TLS."""

    certificate: LaterFileText
    """A PEM file with the certificate, followed by its intermediates; read anew for each
    connection, so that a renewed one is used at once.
    """
    private_key: LaterFileText
    """A PEM file with the certificate's private key, not encrypted."""
