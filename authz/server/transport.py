"""Serves checks over gRPC: sockets, services and limits, and nothing of how checks are answered.

Stock grpcio, synchronous, except for how calls get to a thread (``calls``). Handlers take and
return bytes, so that protobuf's work is done once, where it is needed. ``grpc.aio`` was measured to
cost twice as much for such calls.
"""

import os
import resource
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

import grpc

from authz.adapters.metrics import Metrics
from authz.adapters.tls import ServerTls
from authz.edge.check_pool import CheckPool
from authz.edge.clock import Clock
from authz.edge.methods import Method, Methods, answer
from authz.edge.settings import ServerSettings
from authz.server.callers import CallerAuthenticator
from authz.server.calls import Received, RpcExecutor, no_such_method
from authz.server.grpcio import GrpcioError, require_known_grpcio
from authz.server.health import HEALTH, Health

# A connection is asked to end at server.max_connection_age, and forced to after so much more, which
# is longer than any check takes.
AGE_GRACE_SECONDS: Final = 30.0
# For TLS and HTTP/2: a proxy needs milliseconds, and each connection takes a descriptor.
HANDSHAKE_SECONDS: Final = 10.0
# Of each address. A hundred proxies have some hundred connections, which cost us some 50 KiB each.
MAX_CONNECTIONS: Final = 4096
# Descriptors that connections leave to the files and sockets that we open: a flood of connections
# must not keep us from reading the revocations.
RESERVED_DESCRIPTORS: Final = 256
# After the drain, a stop waits so long for grpcio to see that every call has ended.
STOP_MARGIN_SECONDS: Final = 2.0
MAX_UNIX_BYTES: Final = 107  # unix(7): sun_path has 108 bytes, and ends with a zero
_UNIX: Final = "unix:"
_OPTIONS: Final = (
    ("grpc.so_reuseport", 0),  # a port that is taken is an error, not a port that is shared
    ("grpc.max_receive_message_length", 4 * 1024 * 1024),
    ("grpc.max_concurrent_streams", 4096),
    ("grpc.max_metadata_size", 16 * 1024),
    ("grpc.server_handshake_timeout_ms", int(HANDSHAKE_SECONDS * 1000)),
    ("grpc.max_connection_age_grace_ms", int(AGE_GRACE_SECONDS * 1000)),
)


class TransportError(RuntimeError):
    """The server can't listen; the message says on which address, and why."""


class Transport:
    """The gRPC server.

    Attributes:
        addresses: those that it listens on, with the ports that were chosen for 0.
    """

    def __init__(
        self,
        settings: ServerSettings,
        methods: Methods,
        tls: ServerTls | None,
        metrics: Metrics,
        pool: CheckPool,
        *,
        is_wanted: Callable[[], bool] = lambda: True,
        clock: Clock = Clock(),  # noqa: B008 - frozen
    ) -> None:
        """Prepare the server. Nothing runs or listens before ``start``.

        ``is_wanted`` tells health checks whether the process is well enough to serve. Callers'
        certificates are valid by ``clock``. Raises TransportError for an unknown grpcio.
        """
        try:
            require_known_grpcio()
        except GrpcioError as error:
            raise TransportError(str(error)) from None
        self._settings = settings
        self._tls = tls
        gate = _anyone if tls is None else CallerAuthenticator(tls, clock.wall)
        self._calls = RpcExecutor(pool, gate, metrics, settings.max_concurrent)
        self._methods = methods
        self._health = Health(tuple(methods), is_wanted)
        self._server: grpc.Server | None = None  # has threads as soon as it is made
        self.addresses: list[str] = []

    def check_addresses(self) -> None:
        """Raise TransportError if ``start``, which may come much later, could not listen."""
        for address in self._settings.listen:
            _refuse_taken_socket(address)
            _refuse_unusable(address)

    def start(self) -> None:
        """Listen on every address. Raises TransportError."""
        server = self._server = self._build_server()
        for address in self._settings.listen:
            self.addresses.append(self._bind(server, address))
        self._calls.start()
        server.start()

    def _build_server(self) -> grpc.Server:
        server = grpc.server(
            self._calls,  # type: ignore[arg-type] # any executor will do: grpc asks for submit only
            options=(*_OPTIONS, *_limits(self._settings)),
        )
        for service, methods in self._methods.items():
            _add(server, service, {name: _handler(method) for name, method in methods.items()})
        _add(server, HEALTH, self._health.handlers())
        server.add_generic_rpc_handlers((_NoSuchMethod(),))  # the last: for all others
        return server

    def _bind(self, server: grpc.Server, address: str) -> str:
        _refuse_taken_socket(address)
        try:
            if self._tls is not None and not address.startswith(_UNIX):
                port = server.add_secure_port(address, self._tls.credentials())
            else:
                port = server.add_insecure_port(address)
        except RuntimeError:
            raise TransportError(f"can't listen on {address}: is it in use?") from None
        return address if address.startswith(_UNIX) else f"{address.rpartition(':')[0]}:{port}"

    def set_serving(self, *, serving: bool) -> None:
        """Set whether health checks say that new checks are wanted here. Waits for nothing."""
        self._health.is_serving = serving

    def stop(self, grace_seconds: float) -> None:
        """Take no new checks; wait for those under way, STOP_MARGIN_SECONDS longer at most."""
        if self._server is not None:
            self._server.stop(grace_seconds).wait(grace_seconds + STOP_MARGIN_SECONDS)
        self._calls.close()


def _add(
    server: grpc.Server, service: str, handlers: "dict[str, grpc.RpcMethodHandler[bytes, bytes]]"
) -> None:
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    # The types package lags behind grpcio: this is public since 1.66.
    server.add_registered_method_handlers(service, handlers)  # type: ignore[attr-defined]


def _handler(method: Method) -> "grpc.RpcMethodHandler[bytes, bytes]":
    def check(received: Received, context: grpc.ServicerContext) -> bytes:
        data, proxy = received
        return answer(method, data, context.time_remaining, proxy)

    return grpc.unary_unary_rpc_method_handler(check)


class _NoSuchMethod(grpc.GenericRpcHandler):  # type: ignore[type-arg] # no class to subscript
    """Has calls of unknown methods pass through ``RpcExecutor`` as well.

    grpcio would answer them by itself, to any caller, and hold each until its client takes the
    answer: without a limit in time or number.
    """

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[bytes, bytes]":
        """Return the same handler for every method."""
        del handler_call_details
        return grpc.unary_unary_rpc_method_handler(no_such_method)


def _limits(settings: ServerSettings) -> tuple[tuple[str, int], ...]:
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        descriptors = MAX_CONNECTIONS * len(settings.listen) + RESERVED_DESCRIPTORS
    of_each = max(descriptors - RESERVED_DESCRIPTORS, descriptors // 2) // len(settings.listen)
    return (
        ("grpc.max_allowed_incoming_connections", min(of_each, MAX_CONNECTIONS)),
        ("grpc.max_connection_age_ms", int(settings.max_connection_age * 1000)),
    )


def _anyone(_: str, __: object) -> str:
    """Let every caller ask, without a name: there is no TLS."""
    return ""


def _refuse_taken_socket(address: str) -> None:
    """Raise TransportError for a unix socket that another server has, or without a folder.

    grpcio would take the socket away from that server.
    """
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
    raise TransportError(f"can't listen on {address}: another server answers on it")


def _refuse_unusable(address: str) -> None:
    """Raise TransportError if an address can't be bound; a port is bound for a moment to see it."""
    if address.startswith(_UNIX):
        path = Path(address.removeprefix(_UNIX))
        if path.exists() and not path.is_socket():
            raise TransportError(f"can't listen on {address}: a file is there, and not a socket")
        if len(os.fsencode(path)) > MAX_UNIX_BYTES:
            raise TransportError(f"can't listen on {address}: longer than {MAX_UNIX_BYTES} bytes")
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise TransportError(f"can't listen on {address}: {path.parent} can't be written")
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
