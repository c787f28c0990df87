"""Answers gRPC health checks (grpc.health.v1): whether new checks are wanted here.

Answers come from a value, so that no thread waits for clients. How ``Watch`` tells of changes is a
transport's own matter. Envoy and Kubernetes use ``Check``.
"""

from collections.abc import Callable, Sequence
from typing import Final

from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2 as pb

from authz.transports.status import StatusCode, StatusError

HEALTH: Final = "grpc.health.v1.Health"
# Services have short names, and a Watch keeps the one that it asks for.
MAX_REQUEST_BYTES: Final = 1024
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

    def check(self, data: bytes) -> bytes:
        """Answer a HealthCheckRequest with a HealthCheckResponse. Raises StatusError."""
        if self.service_of(data) not in self._services:
            raise StatusError(StatusCode.NOT_FOUND, "no such service")
        return self.status()

    def watched(self, service: str) -> bytes:
        """Return the status that a Watch of a service is told: an unknown one is no error."""
        if service in self._services:
            return self.status()
        return bytes(_STATUS(status=_STATUS.SERVICE_UNKNOWN).SerializeToString())

    def list(self, _: bytes) -> bytes:
        """Answer a HealthListRequest with a HealthListResponse."""
        status = _STATUS.FromString(self.status())
        statuses = dict.fromkeys(self._services, status)
        return bytes(pb.HealthListResponse(statuses=statuses).SerializeToString())

    def status(self) -> bytes:
        """Return a HealthCheckResponse with the status of every service that is here."""
        is_serving = self.is_serving and self._is_wanted()
        status = _STATUS.SERVING if is_serving else _STATUS.NOT_SERVING
        return bytes(_STATUS(status=status).SerializeToString())

    def service_of(self, data: bytes) -> str:
        """Return the service that a HealthCheckRequest asks for. Raises StatusError."""
        if len(data) > MAX_REQUEST_BYTES:
            raise StatusError(StatusCode.INVALID_ARGUMENT, "no service has such a long name")
        try:
            return str(pb.HealthCheckRequest.FromString(data).service)
        except DecodeError:
            raise StatusError(StatusCode.INVALID_ARGUMENT, "not a HealthCheckRequest") from None
