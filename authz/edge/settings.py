"""The ``server`` section of the config: where the server listens, and its limits."""

from typing import Annotated, Final, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from authz.adapters.tls_settings import TlsSettings
from authz.core.choice import Choice
from authz.core.settings import Duration, MisfitError, PortExists, Settings


def _listed(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        raise ValueError(f"a port needs a host: write 127.0.0.1:{value}")  # noqa: TRY004 - pydantic takes no TypeError for a mistake
    return tuple(value) if isinstance(value, list | tuple) else (value,)


_WORKER: Final = "{worker}"
_ADDRESS: Final = r"^(unix:/.+|[^/\s]+:([0-9]|\{worker\}){1,5})$"
_ONE: Final = {"type": "string", "pattern": _ADDRESS}
Addresses = Annotated[
    tuple[Annotated[str, Field(pattern=_ADDRESS), PortExists], ...],
    BeforeValidator(_listed),
    WithJsonSchema({"anyOf": [_ONE, {"type": "array", "items": _ONE, "minItems": 1}]}),
]


# Envoy's health check in the shipped config runs once a second, and may take half a second.
_NOTICE_SECONDS: Final = 2.5


class TransportKind(Choice):
    """The transport of the checks."""

    NATIVE = "native"
    GRPCIO = "grpcio"


class ServerSettings(Settings):
    """The gRPC service that proxies call: its addresses and limits."""

    listen: Addresses = Field(min_length=1)
    """Address of the gRPC service, or a list of addresses: unix:/path or host:port. In an address,
    {worker} stands for the worker's number, from 0.
    """
    transport: TransportKind = TransportKind.NATIVE
    """The transport of the checks: native, our own HTTP/2 server, or grpcio, gRPC's library."""
    workers: int = Field(default=1, ge=1, le=64)
    """Number of processes. Each has its own addresses, so each is a separate endpoint for the
    proxy.
    """
    tls: TlsSettings | None = None
    """Mutual TLS with the calling proxies, on host:port addresses."""
    pin: bool = False
    """Keep each process on a single core. Its threads run one at a time anyway, and on one core
    they hand work to each other at half the cost. But if other programs keep that core busy, checks
    are slow. Linux only.
    """
    threads: int = Field(default=4, ge=2, le=256)
    """Threads for checks that wait for a remote party and for long messages; with grpcio, for all
    checks. While a check waits for a remote party, another thread takes its place. More threads
    give no more speed and cost CPU.
    """
    max_concurrent: int = Field(default=1024, ge=1, le=100_000)
    """Checks that may run or wait at the same time; a single connection may have eight ninths of
    them. Further checks are refused immediately, never allowed.
    """
    max_queued: int = Field(default=256, ge=1, le=100_000)
    """Checks that may wait for their turn or for a thread. Beyond this number, the server answers
    only checks whose decision is cached, and refuses the others as overloaded.
    """
    max_waiting: int = Field(default=512, ge=2, le=10_000)
    """Checks that may wait for an issuer's new key or for the decision point at the same time; at
    most half of them for the same agent.
    """
    max_connection_age: Duration = Field(default=600.0, ge=1.0, le=86_400.0)
    """The age, give or take a tenth, at which a proxy's connection is replaced: the server asks the
    proxy to open another. No request is lost. With ``transport: native`` it is replaced earlier
    where the proxy's certificate ends: after four fifths of the time that it had left.
    """
    drain: Duration = Field(default=10.0, ge=0.0, le=300.0)
    """How long a stopping server waits for proxies to leave and for checks to end."""
    notice: Duration | None = Field(default=None, ge=0.0, le=300.0)
    """The first part of drain: how long a stopping server still answers new checks and connections,
    while its health checks and /readyz already say that it stops. Left out, 2.5s, or half of drain
    if that is shorter, which suits proxies that check its health every second. Behind proxies that
    do not, such as Istio's, it must be longer than removing the server's endpoint takes.
    """

    @property
    def notice_seconds(self) -> float:
        """The time of ``notice``, or its default."""
        return min(_NOTICE_SECONDS, self.drain / 2) if self.notice is None else self.notice

    @model_validator(mode="after")
    def _no_notice_beyond_the_drain(self) -> Self:
        if self.notice is not None and self.notice > self.drain:
            message = f"it is a part of drain, which is {self.drain:g}s: raise drain, or lower it"
            raise MisfitError(message, "notice")
        return self

    @model_validator(mode="after")
    def _an_address_for_each_worker(self) -> Self:
        if self.workers > 1 and not all(_WORKER in address for address in self.listen):
            raise MisfitError(
                "with several workers each address of listen needs {worker}, "
                "as in unix:/run/authz/authz-{worker}.sock",
                "listen",
            )
        return self

    def of_worker(self, number: int) -> Self:
        """Return these settings with the addresses of one worker."""
        listen = tuple(address.replace(_WORKER, str(number)) for address in self.listen)
        return self.model_copy(update={"listen": listen})
