"""gRPC as the transport of checks: sockets, threads, health. A thin shell around who answers.

Stock grpcio, synchronous: handlers take and give bytes, so protobuf's work is done once, where it
is needed; ``grpc.aio`` was measured to cost twice as much for calls like these.
"""

import socket
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, Final, Protocol

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from authz.extmcp import ExtMcp
from authz.metrics import Metrics
from authz.service import ServerSettings, Service
from authz.tls import ServerTls

SERVICE: Final = "envoy.service.auth.v3.Authorization"
EXT_MCP: Final = "agentgateway.dev.ext_mcp.ExtMcp"
_UNIX: Final = "unix:"
_OPTIONS: Final = (
    ("grpc.so_reuseport", 0),  # a port that is taken is an error, not a port that is shared
    ("grpc.max_receive_message_length", 4 * 1024 * 1024),
    ("grpc.max_concurrent_streams", 4096),
    ("grpc.max_metadata_size", 16 * 1024),
)
_STATUS: Final = health_pb2.HealthCheckResponse


class TransportError(RuntimeError):
    """A socket can't be listened on; the message says which and why."""


class Transport:
    """The gRPC server."""

    def __init__(
        self,
        settings: ServerSettings,
        service: Service,
        tls: ServerTls | None,
        metrics: Metrics,
        pool: Executor,
        *,
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        """Take the settings and who answers. Nothing listens before ``start``.

        ``is_wanted`` is asked by health checks: whether the process is well enough to serve.
        """
        self._settings = settings
        self._tls = tls
        self._health = _Health(is_wanted)
        self._server = grpc.server(
            pool,  # type: ignore[arg-type] # any executor will do: grpc asks for submit only
            maximum_concurrent_rpcs=settings.max_concurrent,
            options=_OPTIONS,
        )
        ext_mcp = ExtMcp(service)
        self._add(SERVICE, {"Check": _handler(service.check, tls, metrics)})
        methods = {"CheckRequest": ext_mcp.check_request, "CheckResponse": ext_mcp.check_response}
        self._add(EXT_MCP, {name: _handler(of, tls, metrics) for name, of in methods.items()})
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self.set_serving(serving=False)
        self.addresses: list[str] = []

    def check_addresses(self) -> None:
        """Raise TransportError where ``start``, which may come much later, could not listen."""
        for address in self._settings.listen:
            _refuse_taken_socket(address)
            _refuse_unusable(address)

    def start(self) -> None:
        """Listen on every address. Raises TransportError."""
        for address in self._settings.listen:
            self.addresses.append(self._bind(address))
        self._server.start()

    def _add(
        self, service: str, handlers: "dict[str, grpc.RpcMethodHandler[bytes, bytes]]"
    ) -> None:
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, handlers),)
        )
        # The types package lags behind grpcio: this is public since 1.66.
        self._server.add_registered_method_handlers(service, handlers)  # type: ignore[attr-defined]

    def _bind(self, address: str) -> str:
        _refuse_taken_socket(address)
        try:
            if self._tls is not None and not address.startswith(_UNIX):
                port = self._server.add_secure_port(address, self._tls.credentials())
            else:
                port = self._server.add_insecure_port(address)
        except RuntimeError:
            raise TransportError(f"can't listen on {address}: is it in use?") from None
        return address if address.startswith(_UNIX) else f"{address.rpartition(':')[0]}:{port}"

    def set_serving(self, *, serving: bool) -> None:
        """Tell health checks whether new checks are wanted here."""
        status = _STATUS.SERVING if serving else _STATUS.NOT_SERVING
        for name in ("", SERVICE, EXT_MCP):
            self._health.set(name, status)

    def stop(self, grace_seconds: float) -> None:
        """Take no new checks and wait for those under way."""
        self._server.stop(grace_seconds).wait()


class _Health(health.HealthServicer):
    """Health as it was set, but NOT_SERVING while the process is not well."""

    def __init__(self, is_wanted: Callable[[], bool]) -> None:
        super().__init__()
        self._is_wanted = is_wanted

    def Check(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802 - grpcio's
        """Answer when asked: whoever would have to set it may hang."""
        response = super().Check(request, context)
        if not self._is_wanted() and response.status == _STATUS.SERVING:
            return _STATUS(status=_STATUS.NOT_SERVING)
        return response


class _Answers(Protocol):
    def __call__(
        self, data: bytes, time_remaining: Callable[[], float | None], proxy: str = ..., /
    ) -> bytes: ...


def _handler(
    answers: _Answers, tls: ServerTls | None, metrics: Metrics
) -> "grpc.RpcMethodHandler[bytes, bytes]":
    def check(data: bytes, context: Any) -> bytes:  # noqa: ANN401 - grpcio has no types
        return answers(data, context.time_remaining)

    def check_caller(data: bytes, context: Any) -> bytes:  # noqa: ANN401
        if context.peer().startswith(_UNIX):
            return check(data, context)
        proxy = tls.caller(context.auth_context()) if tls else None
        if proxy is None:  # not a deny: it is none of a caller's business what we would say
            metrics.caller_refused()
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "not an allowed caller")
            return b""
        return answers(data, context.time_remaining, proxy)

    return grpc.unary_unary_rpc_method_handler(check if tls is None else check_caller)


def _refuse_taken_socket(address: str) -> None:
    """Raise TransportError where another server lives: grpcio would take its socket away."""
    path = Path(address.removeprefix(_UNIX))
    if not address.startswith(_UNIX) or not str(path).startswith("/"):
        return
    if not path.parent.is_dir():
        raise TransportError(f"can't listen on {address}: there is no folder {path.parent}")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return
    raise TransportError(f"can't listen on {address}: another server answers there")


def _refuse_unusable(address: str) -> None:
    """Raise TransportError for an address that can't be bound, by binding it for a moment."""
    if address.startswith(_UNIX):
        path = Path(address.removeprefix(_UNIX))
        if path.exists() and not path.is_socket():
            raise TransportError(f"can't listen on {address}: there is something else")
        return
    host, _, port = address.rpartition(":")
    try:
        found = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        with socket.socket(found[0][0], socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(found[0][4])
    except (OSError, OverflowError) as error:
        raise TransportError(f"can't listen on {address}: is it in use? ({error})") from None
