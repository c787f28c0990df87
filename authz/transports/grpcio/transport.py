"""Serves checks over gRPC: sockets, services and limits, and nothing of how checks are answered.

Stock grpcio, synchronous, except for how calls get to a thread (``calls``). Handlers take and
return bytes, so that protobuf's work is done once, where it is needed. ``grpc.aio`` was measured to
cost twice as much for such calls.
"""

from collections.abc import Callable
from typing import Final

import grpc

from authz.edge.methods import Method, answer
from authz.transports.addresses import (
    UNIX,
    connections_of_each,
    refuse_taken_socket,
    require_usable,
)
from authz.transports.callers import CallerAuthenticator
from authz.transports.grpcio.calls import Gate, Received, RpcExecutor, no_such_method
from authz.transports.grpcio.credentials import server_credentials
from authz.transports.grpcio.health import health_handlers
from authz.transports.grpcio.rpc import AuthContext, GrpcioError, require_known_grpcio
from authz.transports.health import HEALTH, Health
from authz.transports.transport import TransportError, TransportParts

# A connection is asked to end at server.max_connection_age, and forced to after so much more, which
# is longer than any check takes.
AGE_GRACE_SECONDS: Final = 30.0
# For TLS and HTTP/2: a proxy needs milliseconds, and each connection takes a descriptor.
HANDSHAKE_SECONDS: Final = 10.0
# After the drain, a stop waits so long for grpcio to see that every call has ended.
STOP_MARGIN_SECONDS: Final = 2.0
_OPTIONS: Final = (
    ("grpc.so_reuseport", 0),  # a port that is taken is an error, not a port that is shared
    ("grpc.max_receive_message_length", 4 * 1024 * 1024),
    ("grpc.max_concurrent_streams", 4096),
    ("grpc.max_metadata_size", 16 * 1024),
    ("grpc.server_handshake_timeout_ms", int(HANDSHAKE_SECONDS * 1000)),
    ("grpc.max_connection_age_grace_ms", int(AGE_GRACE_SECONDS * 1000)),
)


class GrpcioTransport:
    """The gRPC server.

    Attributes:
        addresses: those that it listens on, with the ports that were chosen for 0.
    """

    def __init__(self, parts: TransportParts) -> None:
        """Prepare the server. Raises TransportError for an unknown grpcio."""
        check_grpcio()
        settings, tls = parts.settings, parts.tls
        self._settings = settings
        self._tls = tls
        gate = _anyone if tls is None else _gate(CallerAuthenticator(tls, parts.clock.wall))
        self._calls = RpcExecutor(parts.pool, gate, parts.metrics, settings.max_concurrent)
        self._methods = parts.methods
        self._health = Health(tuple(parts.methods), parts.is_wanted)
        self._server: grpc.Server | None = None  # has threads as soon as it is made
        self.addresses: list[str] = []

    def check_addresses(self) -> None:
        """Raise TransportError if ``start``, which may come much later, could not listen."""
        require_usable(self._settings.listen)

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
            options=(*_OPTIONS, *self._limits()),
        )
        for service, methods in self._methods.items():
            _add(server, service, {name: _handler(method) for name, method in methods.items()})
        _add(server, HEALTH, health_handlers(self._health))
        server.add_generic_rpc_handlers((_NoSuchMethod(),))  # the last: for all others
        return server

    def _bind(self, server: grpc.Server, address: str) -> str:
        refuse_taken_socket(address)
        try:
            if self._tls is not None and not address.startswith(UNIX):
                port = server.add_secure_port(address, server_credentials(self._tls))
            else:
                port = server.add_insecure_port(address)
        except RuntimeError:
            raise TransportError(f"can't listen on {address}: is it in use?") from None
        return address if address.startswith(UNIX) else f"{address.rpartition(':')[0]}:{port}"

    def _limits(self) -> tuple[tuple[str, int], ...]:
        settings = self._settings
        return (
            ("grpc.max_allowed_incoming_connections", connections_of_each(len(settings.listen))),
            ("grpc.max_connection_age_ms", int(settings.max_connection_age * 1000)),
        )

    def set_serving(self, *, serving: bool) -> None:
        """Set whether health checks say that new checks are wanted here. Waits for nothing."""
        self._health.is_serving = serving

    def progress(self) -> None:
        """Return None: grpcio's threads tell nothing of themselves."""

    def stop(self, grace_seconds: float) -> None:
        """Take no new checks; wait for those under way, STOP_MARGIN_SECONDS longer at most."""
        if self._server is not None:
            self._server.stop(grace_seconds).wait(grace_seconds + STOP_MARGIN_SECONDS)
        self._calls.close()


def check_grpcio() -> None:
    """Raise TransportError for a grpcio that works otherwise than those that we know."""
    try:
        require_known_grpcio()
    except GrpcioError as error:
        raise TransportError(str(error)) from None


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


_LEAF: Final = b"x509_pem_cert"  # gRPC's names
_CHAIN: Final = b"x509_pem_cert_chain"


def _anyone(_: str, __: object) -> str:
    """Let every caller ask, without a name: there is no TLS."""
    return ""


def _gate(caller_of: CallerAuthenticator) -> Gate:
    """Return a gate for callers with a certificate, and for unix sockets.

    The file system decides who may use a unix socket: its callers have no name.
    """

    def gate(peer: str, auth_context: Callable[[], AuthContext]) -> str | None:
        if peer.startswith(UNIX):
            return ""
        context = auth_context()
        leaf = context.get(_LEAF, ())
        return caller_of((*leaf, *context.get(_CHAIN, ())) if leaf else ())

    return gate
