"""gRPC health checking (grpc.health.v1): whether new checks are wanted here.

Answered from a value, so that nothing waits for who asks. ``Watch``, by which a client is told of
changes, is not there (UNIMPLEMENTED, which clients take for a server without it): what it has to
tell waits for clients to read it. Envoy and Kubernetes use ``Check``.
"""

from collections.abc import Callable, Sequence
from typing import Final

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2 as pb

from authz.server.calls import Received

HEALTH: Final = "grpc.health.v1.Health"
_SERVER: Final = ""  # the name that stands for all services together
_STATUS: Final = pb.HealthCheckResponse


class Health:
    """The status that is told.

    Attributes:
        is_serving: whether new checks are wanted; assign it.
    """

    def __init__(self, services: Sequence[str], is_wanted: Callable[[], bool]) -> None:
        """Take the services that have a status, which are not serving yet.

        ``is_wanted`` is asked for each answer whether the process is well enough to serve: whoever
        would have to set that may hang.
        """
        self._services = (_SERVER, *services)
        self._is_wanted = is_wanted
        self.is_serving = False

    def handlers(self) -> "dict[str, grpc.RpcMethodHandler[bytes, bytes]]":
        """The methods, for grpcio."""
        methods = {"Check": self._check, "List": self._list}
        return {name: grpc.unary_unary_rpc_method_handler(of) for name, of in methods.items()}

    def _status(self) -> pb.HealthCheckResponse:
        is_serving = self.is_serving and self._is_wanted()
        return _STATUS(status=_STATUS.SERVING if is_serving else _STATUS.NOT_SERVING)

    def _check(self, received: Received, context: grpc.ServicerContext) -> bytes:
        try:
            service = pb.HealthCheckRequest.FromString(received[0]).service
        except DecodeError:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not a HealthCheckRequest")
        if service not in self._services:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return bytes(self._status().SerializeToString())

    def _list(self, _: Received, __: object) -> bytes:
        statuses = dict.fromkeys(self._services, self._status())
        return bytes(pb.HealthListResponse(statuses=statuses).SerializeToString())
