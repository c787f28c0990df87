"""``authz serve``: runs a process that answers checks, or several under a supervisor."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final, Protocol

from authz.adapters.audit.log import AuditError
from authz.adapters.http_server import ListenError
from authz.adapters.keys.store import KeyStoreError
from authz.adapters.tls import TlsError
from authz.config import Config
from authz.core.extras import missing_extra
from authz.core.revocations import RevocationError
from authz.server.process import open_server
from authz.server.reload import ConfigSource
from authz.server.unix_signals import Stoppable, signals
from authz.transports.transport import TransportError
from authz.wiring.files import BuildError

_START_ERRORS: Final = (
    ListenError,
    AuditError,
    BuildError,
    KeyStoreError,
    RevocationError,
    TlsError,
    TransportError,
    OSError,
)


class Process(Stoppable, Protocol):
    """A server, or a supervisor of several.

    ``start`` and ``serve`` raise the _START_ERRORS. ``serve`` returns only after ``stop``.
    """

    def start(self) -> None:
        """Start all parts that serving needs."""

    def serve(self) -> None:
        """Serve until told to stop."""


class StartError(RuntimeError):
    """The server could not start; the message says why."""


def run(path: Path) -> None:
    """Serve until SIGTERM or SIGINT. Raises ConfigError, and StartError if the start fails."""
    source = ConfigSource(path)
    config = source.read_config()
    if config.server.workers == 1:
        _serve(open_server(config, source))
    else:
        _serve(_open_supervisor(path, config))


def run_token_service(path: Path) -> None:
    """Serve the token service until SIGTERM or SIGINT. Raises ConfigError, StartError.

    Loads its HTTP server only here, which is an optional extra.
    """
    source = ConfigSource(path)
    config = source.read_config()
    try:
        from authz.server.sts_process import open_token_service  # noqa: PLC0415 - optional
    except ModuleNotFoundError as error:
        if error.name != "aiohttp":
            raise
        raise StartError(missing_extra("sts", "authz sts needs")) from None
    _serve(open_token_service(config, source))


def run_worker(path: Path, number: int, admin: str, run: str) -> None:
    """Serve as worker ``number`` of several, which its supervisor asks at the address ``admin``.

    ``run`` is the same for all of them. Raises ConfigError, StartError.
    """
    source = ConfigSource(path)
    _serve(open_server(source.read_config(), source, number, admin, run))


@contextmanager
def _open_supervisor(path: Path, config: Config) -> Iterator[Process]:
    """Open a supervisor, and close it. Raises OSError, once it is entered.

    Imports its module only here: a server without workers starts no processes.
    """
    from authz.server.supervisor import Supervisor  # noqa: PLC0415 - see above

    with closing(Supervisor(path, config)) as supervisor:
        yield supervisor


def _serve(opening: AbstractContextManager[Process]) -> None:
    """Open a process, start it, serve, and close it. Raises StartError."""
    try:
        with ExitStack() as opened:
            process = opened.enter_context(opening)
            # Closed while we still handle signals, so that a second SIGTERM does not end the
            # process early.
            with signals(process), opened.pop_all():
                process.start()
                process.serve()
    except _START_ERRORS as error:
        raise StartError(str(error)) from None
