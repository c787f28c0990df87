"""Answers gRPC health checks (grpc.health.v1): whether new checks are wanted here.

Answers come from a value, so that no thread waits for clients. ``Watch``, which tells a client of
changes, is UNIMPLEMENTED, as the protocol allows: its messages would wait for clients to read them.
Envoy and Kubernetes use ``Check``.
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
    """The health status, and the methods that answer it.

    Attributes:
        is_serving: whether new checks are wanted; assign it.
    """

    def __init__(self, services: Sequence[str], is_wanted: Callable[[], bool]) -> None:
        """Take the names of the services that have a status; they are not serving yet.

        ``is_wanted`` tells at each answer whether the process is well enough to serve: a thread
        that had to set a value instead could hang.
        """
        self._services = (_SERVER, *services)
        self._is_wanted = is_wanted
        self.is_serving = False

    def handlers(self) -> "dict[str, grpc.RpcMethodHandler[bytes, bytes]]":
        """Return the methods' handlers for grpcio."""
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
