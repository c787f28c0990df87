"""``authz serve``: one process that answers checks, or several under a supervisor."""

import os
from pathlib import Path
from typing import Final

from authz.admin import AdminError
from authz.audit import AuditError
from authz.build import BuildError
from authz.config import Config, load
from authz.server.one import Server
from authz.server.supervisor import Supervisor, WorkerStartError
from authz.server.transport import TransportError
from authz.tls import TlsError

# gRPC's newer way to accept connections costs a fifth more CPU a check (docs/performance.md). Not
# depended on: a gRPC that does not know the name ignores it, and an operator's own value stays.
_EXPERIMENTS: Final = ("GRPC_EXPERIMENTS", "-event_engine_listener")
_START_ERRORS: Final = (
    AdminError,
    AuditError,
    BuildError,
    TlsError,
    TransportError,
    WorkerStartError,
    OSError,
)


class StartError(RuntimeError):
    """The server could not start; the message says why."""


def run(path: Path) -> None:
    """Serve until SIGTERM or SIGINT. Raises ConfigError before it starts, StartError while."""
    config = load(path)
    os.environ.setdefault(*_EXPERIMENTS)
    serve(Server(path, config) if config.server.workers == 1 else Supervisor(path, config))


def run_worker(path: Path, number: int, admin: str) -> None:
    """As ``run``, as one of several; the supervisor asks at ``admin``."""
    config: Config = load(path)
    serve(Server(path, config, number, admin))


def serve(process: Server | Supervisor) -> None:
    """Start, serve, close. Raises StartError."""
    try:
        try:
            process.start()
        except _START_ERRORS as error:
            raise StartError(str(error)) from None
        process.serve()
    finally:
        process.close()
