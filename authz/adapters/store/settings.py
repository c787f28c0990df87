"""The ``store`` section of the config: where replicas share what they must agree on."""

import re
from typing import Annotated, Final, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from authz.core.settings import (
    ClientCertificateSettings,
    Duration,
    FileText,
    LaterFileText,
    MisfitError,
    RemoteAddress,
    Settings,
)

_NAME: Final = r"^[A-Za-z0-9._-]{1,128}$"  # no colon and no brace, which divide keys
# As urlsplit returns it: a name whose labels are as DNS has them, or an address.
_HOST: Final = re.compile(
    r"(?:[a-z0-9_][a-z0-9_-]{0,62}(?:\.|$)){1,127}|[0-9a-f]{0,4}:[0-9a-f:.]{1,44}"
)
_MAX_HOST_CHARS: Final = 253
_DATABASE: Final = re.compile(r"/?|/[0-9]{1,4}")
MAX_TIMEOUT_SECONDS: Final = 5.0


def _store_url(text: str) -> str:
    parts = urlsplit(text)
    try:
        has_port = parts.port != 0
    except ValueError:
        has_port = False
    if not has_port:
        raise ValueError("must have a port from 1 to 65535, such as 6379")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a user or password: set user and password_file")
    if parts.scheme == "unix" and parts.path.startswith("/") and not parts.netloc:
        return text
    host = parts.hostname or ""
    is_host = len(host) <= _MAX_HOST_CHARS and _HOST.fullmatch(host)
    if parts.scheme not in {"redis", "rediss"} or not is_host:
        raise ValueError(
            "must be such as rediss://valkey.corp.example:6379, or unix:///run/valkey/valkey.sock"
        )
    if not _DATABASE.fullmatch(parts.path) or parts.query or parts.fragment:
        raise ValueError("may end in a database's number, such as /1, and in nothing else")
    return text


class SentinelSettings(Settings):
    """Sentinels, which say which server is the primary one."""

    addresses: tuple[RemoteAddress, ...] = Field(min_length=1)
    """host:port of each Sentinel; the first that answers is asked."""
    service: str = Field(pattern=_NAME)
    """The name by which the Sentinels know the store."""
    user: str | None = Field(default=None, min_length=1, max_length=256)
    """Our user at the Sentinels, if they have any."""
    password_file: LaterFileText | None = None
    """A file with the password at the Sentinels."""


class StoreTlsSettings(Settings):
    """TLS towards the store, and its Sentinels."""

    ca_file: FileText | None = None
    """A file of PEM certificates to trust for the store, in place of the system's."""
    client: ClientCertificateSettings | None = None
    """A certificate that the server shows, for mutual TLS."""


class StoreSettings(Settings):
    """A Valkey or Redis server that replicas share: revocations, used proofs, nonces, budgets.

    Needs the extra store. Whoever can write there can take revocations back and make proofs unused:
    give it a user of its own.
    """

    url: Annotated[str, AfterValidator(_store_url)] | None = None
    """rediss://host:port, redis:// without TLS, or unix:///path of its socket; /1 at the end for
    another database than 0.
    """
    sentinel: SentinelSettings | None = None
    """In place of url: the Sentinels that know the primary server."""
    cluster: tuple[RemoteAddress, ...] = ()
    """In place of url: host:port of some of a cluster's nodes. All keys of a namespace are in one
    slot.
    """
    user: str | None = Field(default=None, min_length=1, max_length=256)
    """Our user in the store's access control list."""
    password_file: LaterFileText | None = None
    """A file with the user's password; read anew for each connection."""
    tls: StoreTlsSettings = StoreTlsSettings()
    """TLS towards the store."""
    insecure: bool = False
    """Connect over the network without TLS: anyone on the path can then take revocations back."""
    prefix: str = Field(default="authz", pattern=_NAME)
    """The beginning of all keys."""
    namespace: str | None = Field(default=None, pattern=_NAME)
    """Servers with the same namespace share everything, others nothing; left out, the first of
    trust_domains.
    """
    timeout: Duration = Field(default=0.1, ge=0.005, le=MAX_TIMEOUT_SECONDS)
    """The longest wait for an answer. A check waits for less if its proxy's deadline is earlier."""
    acknowledged_by: int = Field(default=0, ge=0, le=16)
    """How many of the store's own replicas must have a mark before it counts (WAIT). With Sentinel
    or a cluster, set 1 at least: otherwise a proof that was used just before a failover is refused
    only because it is older than the new primary.
    """

    @property
    def where(self) -> str:
        """Return what it is reached by, for people."""
        if self.sentinel is not None:
            return f"{self.sentinel.service} of {', '.join(self.sentinel.addresses)}"
        return self.url or ", ".join(self.cluster)

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        given = [
            key for key in ("url", "sentinel", "cluster") if getattr(self, key) not in {None, ()}
        ]
        if len(given) != 1:
            raise ValueError("exactly one of url, sentinel and cluster is required")
        return self

    @model_validator(mode="after")
    def _nobody_on_the_way(self) -> Self:
        scheme = urlsplit(self.url).scheme if self.url else ""
        if scheme == "redis" and not self.insecure:
            raise MisfitError(
                "over plain TCP anyone on the network path can take revocations back: use rediss://,"
                " or set insecure: true",
                "url",
            )
        if scheme == "rediss" and self.insecure:
            raise MisfitError("rediss:// is with TLS: leave insecure out, or write redis://", "url")
        if (self.insecure or scheme == "unix") and self.tls != StoreTlsSettings():
            raise MisfitError("connections without TLS: leave tls or insecure out", "tls")
        return self
