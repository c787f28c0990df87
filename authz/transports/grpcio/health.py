"""Gives grpcio the methods of health: Check and List.

``Watch``, which tells a client of changes, is UNIMPLEMENTED here, as the protocol allows: its
messages would wait for clients to read them, in a thread for each.
"""

from collections.abc import Callable

import grpc

from authz.transports.grpcio.calls import Received
from authz.transports.health import Health
from authz.transports.status import StatusError


def health_handlers(health: Health) -> "dict[str, grpc.RpcMethodHandler[bytes, bytes]]":
    """Return the methods' handlers."""
    methods = {"Check": health.check, "List": health.list}
    return {
        name: grpc.unary_unary_rpc_method_handler(_answering(of)) for name, of in methods.items()
    }


def _answering(
    method: Callable[[bytes], bytes],
) -> Callable[[Received, grpc.ServicerContext], bytes]:
    def answer(received: Received, context: grpc.ServicerContext) -> bytes:
        try:
            return method(received[0])
        except StatusError as error:
            context.abort(grpc.StatusCode[error.code.name], error.message)

    return answer
