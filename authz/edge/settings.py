"""What an operator says of the server: where it listens, and how much it takes on at once."""

from typing import Annotated, Final, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from authz.adapters.tls import TlsSettings
from authz.core.settings import Duration, MisfitError, PortExists, Settings


def _listed(value: object) -> object:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


_WORKER: Final = "{worker}"
_ADDRESS: Final = r"^(unix:/.+|[^/\s]+:([0-9]|\{worker\}){1,5})$"
_ONE: Final = {"type": "string", "pattern": _ADDRESS}
Addresses = Annotated[
    tuple[Annotated[str, Field(pattern=_ADDRESS), PortExists], ...],
    BeforeValidator(_listed),
    WithJsonSchema({"anyOf": [_ONE, {"type": "array", "items": _ONE, "minItems": 1}]}),
]


class ServerSettings(Settings):
    """Where proxies ask, and how much at once."""

    listen: Addresses = Field(min_length=1)
    """Addresses of the gRPC service, one or several: unix:/path or host:port. {worker} in one
    stands for a worker's number, from 0.
    """
    workers: int = Field(default=1, ge=1, le=64)
    """Processes, each with addresses of its own: one endpoint for the proxy each."""
    tls: TlsSettings | None = None
    """Mutual TLS with the proxies that ask, on host:port addresses."""
    pin: bool = False
    """Keep each process on one core. Its threads run one at a time anyhow, and pass work to each
    other at half the cost; but a core that others keep busy is slow. Linux only.
    """
    threads: int = Field(default=4, ge=2, le=256)
    """Threads that work on checks; others may wait besides. More bring no speed and cost CPU."""
    max_concurrent: int = Field(default=1024, ge=1, le=100_000)
    """Checks under way or waiting at once; more are refused at once, and never allowed."""
    max_queued: int = Field(default=256, ge=1, le=100_000)
    """Checks that may wait for a thread before nothing new is decided: the ones over that are
    answered if their decision is remembered, and overloaded if not.
    """
    max_waiting: int = Field(default=512, ge=2, le=10_000)
    """Checks that may wait for an issuer's new key, or for the decision point, at once; half of
    them of one agent.
    """
    max_connection_age: Duration = Field(default=600.0, ge=1.0, le=86_400.0)
    """How old a proxy's connection becomes, a tenth more or less: then it is asked to make another
    one, which costs no request.
    """
    drain: Duration = Field(default=10.0, ge=0.0, le=300.0)
    """How long a stop waits for proxies to go elsewhere and for checks to end."""

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
        """These settings with the addresses of one worker."""
        listen = tuple(address.replace(_WORKER, str(number)) for address in self.listen)
        return self.model_copy(update={"listen": listen})
