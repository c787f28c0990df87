"""What every transport does, and what it is made of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from authz.adapters.metrics import Metrics
from authz.adapters.tls import ServerTls
from authz.edge.check_pool import CheckPool
from authz.edge.clock import Clock
from authz.edge.methods import Methods
from authz.edge.settings import ServerSettings


class TransportError(RuntimeError):
    """The server can't listen; the message says on which address, and why."""


def _always() -> bool:
    return True


@dataclass(frozen=True, slots=True)
class TransportParts:
    """What a transport works with.

    Attributes:
        settings: addresses and limits.
        methods: what is answered, by service and method.
        tls: our side of the connections on host:port addresses, None for no TLS.
        metrics: where calls that are refused or ended are counted.
        pool: the threads for checks that wait for others.
        is_wanted: tells health checks whether the process is well enough to serve.
        clock: the time; callers' certificates are valid by it.
    """

    settings: ServerSettings
    methods: Methods
    tls: ServerTls | None
    metrics: Metrics
    pool: CheckPool
    is_wanted: Callable[[], bool] = _always
    clock: Clock = Clock()  # noqa: RUF009 - frozen


class Transport(Protocol):
    """Listens for proxies' calls. Nothing runs or listens before ``start``."""

    @property
    def addresses(self) -> Sequence[str]:
        """Return those that it listens on, with the ports that were chosen for 0."""

    def check_addresses(self) -> None:
        """Raise TransportError if ``start``, which may come much later, could not listen."""

    def start(self) -> None:
        """Listen on every address. Raises TransportError."""

    def set_serving(self, *, serving: bool) -> None:
        """Set whether health checks say that new checks are wanted here. Waits for nothing."""

    def progress(self) -> int | None:
        """Return a number that grows while the transport makes progress, None where it can't."""

    def stop(self, grace_seconds: float) -> None:
        """Take no new checks; wait for those under way, not much longer than the grace."""
