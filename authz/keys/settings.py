"""The ``keys:`` of an issuer's settings: where its public keys are, and how often they are fetched.

The same rules of a good URL hold for the one that an issuer's discovery document names.
"""

import re
from typing import Annotated, Final, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from authz.settings import Duration, Settings

# What a URL is written in. urlsplit() would drop tabs and line ends without a word.
_URL_CHARACTERS: Final = re.compile(r"[!-~]{1,2048}")


def check_url(text: str) -> str:
    """An http(s) URL that names a host and no secret. Raises ValueError."""
    if not _URL_CHARACTERS.fullmatch(text):
        raise ValueError("an https:// URL of visible ASCII characters is needed")
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("an https:// URL is needed")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ValueError("a URL without user, password and fragment is needed")
    if parts.port == 0:  # reading it raises ValueError for what is no port
        raise ValueError("port 0 is none")
    return text


def is_plain(url: str) -> bool:
    """Whether the URL's traffic can be changed on its way."""
    return urlsplit(url).scheme != "https"


class KeySettings(Settings):
    """Where an issuer's public keys are: exactly one of jwks_uri, discovery and file."""

    jwks_uri: Annotated[str, AfterValidator(check_url)] | None = None
    """HTTPS URL of the issuer's JWK Set."""
    discovery: bool = False
    """Find the JWK Set through the issuer's metadata: /.well-known/openid-configuration, or
    /.well-known/oauth-authorization-server (RFC 8414)."""
    file: str | None = None
    """A file with a JWK Set; read anew when it changes."""
    insecure: bool = False
    """Accept plain http:// in jwks_uri: whoever is on the way can then sign tokens."""
    allow_any_address: bool = False
    """Accept link-local, metadata and multicast addresses, where clouds keep their secrets."""
    ca_file: str | None = None
    """PEM certificates to trust for jwks_uri, in place of the system's."""
    refresh: Duration = Field(default=300.0, ge=1.0, le=86400.0)
    """How often keys are fetched: a withdrawn key is used that long at most. An issuer's
    Cache-Control may make it more often, down to 30s, never less.
    """
    cooldown: Duration = Field(default=10.0, ge=1.0, le=3600.0)
    """Shortest time between fetches that unknown keys cause, and first pause after a failure."""
    max_age: Duration = Field(default=86400.0, ge=1.0)
    """How long the last good keys are used while the issuer can't be reached."""
    timeout: Duration = Field(default=5.0, ge=0.1, le=60.0)
    """Longest time that one fetch takes in all, after the name was looked up."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if [self.jwks_uri is not None, self.discovery, self.file is not None].count(True) != 1:
            raise ValueError("exactly one of jwks_uri, discovery: true and file is needed")
        if self.jwks_uri and is_plain(self.jwks_uri) and not self.insecure:
            raise ValueError(
                "plain http lets whoever is on the way sign tokens: use https, "
                "or say insecure: true"
            )
        return self

    @property
    def place(self) -> tuple[object, ...]:
        """What tells whether two settings mean keys of one origin, fetched with the same care."""
        return (
            self.jwks_uri,
            self.discovery,
            self.file,
            self.insecure,
            self.allow_any_address,
            self.ca_file,
        )
