"""Servers to hold ours against: ``python -m bench.echo KIND SOCKET FILE``.

Echoes, which answer every check with the bytes in FILE:

- ``bare``: on our own transport: what is left when deciding costs nothing;
- ``stock``: on grpcio as most people use it, with a ThreadPoolExecutor and generic handlers.

Ours, with FILE for a config, whose address SOCKET is:

- ``ours-stock``: the same decisions on that stock grpcio;
- ``ours-switched``: with metrics and audit records, or without, as signals tell.
"""

import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import grpc

from authz.edge.check_pool import CheckPool
from authz.edge.methods import AUTHORIZATION
from authz.edge.settings import ServerSettings
from authz.server import run
from authz.transports.grpcio.calls import Received
from authz.transports.opening import open_transport
from authz.transports.transport import TransportParts

THREADS = 4
RECORDING = (
    "authz.edge.service.AuditLine",
    "authz.adapters.audit.log.AuditLog.append",
    "authz.adapters.metrics.Metrics.observe",
)
EXECUTOR = "authz.transports.grpcio.transport.RpcExecutor"
SILENT, RECORDED = signal.SIGUSR1, signal.SIGUSR2


class StockCalls(ThreadPoolExecutor):
    """The standard executor, where ours would stand: its threads wait for messages, too."""

    def __init__(self, *_: object) -> None:
        """Take the place of ``RpcExecutor``."""
        super().__init__(THREADS)

    def submit(self, function: Any, /, *args: Any, **_: Any) -> Any:  # noqa: ANN401 - as inherited
        """Run a call, whose handler is given its message as ``RpcExecutor`` would give it."""
        *before, thunk, request_deserializer, response_serializer = args

        def received() -> Received | None:
            return None if (message := thunk()) is None else (message, "")

        rest = (received, request_deserializer, response_serializer)
        return super().submit(function, *before, *rest)

    def start(self) -> None:
        """End no calls."""

    def close(self) -> None:
        """Do nothing."""


class Echo:
    """A service that does not decide."""

    def __init__(self, answer: bytes) -> None:
        """Take the answer."""
        self._answer = answer

    def begin(self, _: bytes, __: str = "", /) -> bytes:
        """Answer at once."""
        return self._answer


def bare(address: str, file: Path) -> None:
    """Our transport, and a constant answer."""
    settings = ServerSettings(listen=(address,))
    methods = {AUTHORIZATION: {"Check": Echo(file.read_bytes())}}
    pool = CheckPool(THREADS, settings.max_queued)
    parts = TransportParts(settings, methods, None, None, pool)  # type: ignore[arg-type]
    transport = open_transport(parts)
    pool.start()
    transport.start()
    transport.set_serving(serving=True)
    threading.Event().wait()


def stock(address: str, file: Path) -> None:
    """Grpcio with its defaults, and a constant answer."""
    echo = Echo(file.read_bytes())

    def check(data: bytes, _: object) -> bytes:
        return echo.begin(data)

    handlers = {"Check": grpc.unary_unary_rpc_method_handler(check)}
    server = grpc.server(ThreadPoolExecutor(THREADS))
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(AUTHORIZATION, handlers),)
    )
    server.add_insecure_port(address)
    server.start()
    threading.Event().wait()


def ours_stock(_: str, config: Path) -> None:
    """Our decisions, on grpcio with its defaults."""
    no_registered = mock.patch("grpc._server._Server.add_registered_method_handlers")
    with mock.patch(EXECUTOR, StockCalls), no_registered:
        run(config)


def _nothing(*_: object) -> None:
    """Do nothing; a Mock would do a lot."""


def ours_switched(_: str, config: Path) -> None:
    """Our server, without its records and counts after SIGUSR1, with them after SIGUSR2.

    One process for both: two of the same code differ by more than records and counts cost.
    """
    patches = [mock.patch(name, _nothing) for name in RECORDING]

    def switch(number: int, _: object) -> None:
        for patch in patches:
            if number == SILENT:
                patch.start()
            else:
                patch.stop()

    signal.signal(SILENT, switch)
    signal.signal(RECORDED, switch)
    run(config)


KINDS = {"bare": bare, "stock": stock, "ours-stock": ours_stock, "ours-switched": ours_switched}

if __name__ == "__main__":
    KINDS[sys.argv[1]](sys.argv[2], Path(sys.argv[3]))
