"""``authz serve``: one process that answers checks, or several under a supervisor."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from authz.adapters.admin import AdminError
from authz.adapters.audit import AuditError
from authz.adapters.tls import TlsError
from authz.config import ConfigFiles, load_at_rest
from authz.core.revocations import RevocationError
from authz.server.process import Server
from authz.server.signals import signals
from authz.server.supervisor import Supervisor, WorkerStartError
from authz.server.transport import TransportError
from authz.wiring import BuildError

_START_ERRORS: Final = (
    AdminError,
    AuditError,
    BuildError,
    RevocationError,
    TlsError,
    TransportError,
    WorkerStartError,
    OSError,
)


class StartError(RuntimeError):
    """The server could not start; the message says why."""


def run(path: Path) -> None:
    """Serve until SIGTERM or SIGINT. Raises ConfigError before it starts, StartError while."""
    files = ConfigFiles(path, must_rest=True)
    config = load_at_rest(files)
    is_one = config.server.workers == 1
    _serve(lambda: Server(files, config) if is_one else Supervisor(path, config))


def run_worker(path: Path, number: int, admin: str) -> None:
    """As ``run``, as one of several; the supervisor asks at ``admin``."""
    files = ConfigFiles(path, must_rest=True)
    config = load_at_rest(files)
    _serve(lambda: Server(files, config, number, admin))


def _serve(make: Callable[[], Server | Supervisor]) -> None:
    """Put together, start, serve, close. Raises StartError."""
    with ExitStack() as stack:
        try:
            process = make()
            stack.enter_context(signals(process))
            stack.callback(process.close)
            process.start()
            process.serve()
        except _START_ERRORS as error:
            raise StartError(str(error)) from None
