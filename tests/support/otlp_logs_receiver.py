"""OTLP receivers on loopback: the service of opentelemetry-proto, over gRPC and over HTTP."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import (
    LogsServiceServicer,
    add_LogsServiceServicer_to_server,
)
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from lab.ca import Svid

# What a receiver answers to a request's records: None to take them, a code, or a whole answer.
Answer: TypeAlias = grpc.StatusCode | ExportLogsServiceResponse | Status | None
Script: TypeAlias = Callable[[Sequence[LogRecord]], Answer]


def take(_: Sequence[LogRecord]) -> Answer:
    """Take everything."""
    return None


def in_part(rejected: int) -> ExportLogsServiceResponse:
    """Return the answer that takes a request without some of its records."""
    partial = ExportLogsPartialSuccess(rejected_log_records=rejected, error_message="a secret")
    return ExportLogsServiceResponse(partial_success=partial)


def later(code: grpc.StatusCode, seconds: float) -> Status:
    """Return the answer that names a time after which to try again."""
    delay = Duration()
    delay.FromNanoseconds(int(seconds * 1e9))
    detail = AnyMessage()
    detail.Pack(RetryInfo(retry_delay=delay))
    return Status(code=code.value[0], message="a secret", details=[detail])


class GrpcReceiver(LogsServiceServicer):
    """A receiver that can go away and come back at the same port.

    Attributes:
        script: what it answers.
        requests: what it took, each request whole.
        metadata: of the last request.
    """

    def __init__(self, tls: tuple[Svid, Path | None] | None = None) -> None:
        """Start; ``tls`` has its certificate, and the CA of clients if it asks for one."""
        self.script: Script = take
        self.requests: list[ExportLogsServiceRequest] = []
        self.asked = 0
        self.metadata: dict[str, Any] = {}
        self._tls = tls
        self._port = 0
        self._lock = threading.Lock()
        self.start()

    @property
    def endpoint(self) -> str:
        """Return its URL."""
        return (
            f"http://127.0.0.1:{self._port}" if not self._tls else f"https://localhost:{self._port}"
        )

    def start(self) -> None:
        """Listen, at the same port as before."""
        self._pool = ThreadPoolExecutor(2)
        self._server = grpc.server(self._pool, options=[("grpc.so_reuseport", 0)])
        add_LogsServiceServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        address = f"127.0.0.1:{self._port}"
        if self._tls is None:
            self._port = self._server.add_insecure_port(address)
        else:
            self._port = self._server.add_secure_port(address, self._credentials())
        self._server.start()

    def _credentials(self) -> grpc.ServerCredentials:
        assert self._tls is not None
        server, ca = self._tls
        pair = (server.key_pem.encode(), server.certificate_pem.encode())
        asks = None if ca is None else ca.read_bytes()
        return grpc.ssl_server_credentials([pair], asks, require_client_auth=ca is not None)

    def stop(self) -> None:
        """Go away."""
        self._server.stop(None).wait()
        self._pool.shutdown()

    def Export(  # noqa: N802 - the service's name
        self, request: ExportLogsServiceRequest, context: Any
    ) -> ExportLogsServiceResponse:
        """Answer as scripted."""
        with self._lock:
            self.asked += 1
            self.metadata = dict(context.invocation_metadata())
            answer = self.script(records_in(request))
            if answer is None or isinstance(answer, ExportLogsServiceResponse):
                self.requests.append(request)
                return answer or ExportLogsServiceResponse()
        if isinstance(answer, Status):
            context.set_trailing_metadata(
                (("grpc-status-details-bin", answer.SerializeToString()),)
            )
            code = next(code for code in grpc.StatusCode if code.value[0] == answer.code)
            context.abort(code, answer.message)
        context.abort(answer, "a secret")
        raise AssertionError

    def records(self) -> list[LogRecord]:
        """Return the records that it took."""
        with self._lock:
            return [record for request in self.requests for record in records_in(request)]


def records_in(request: ExportLogsServiceRequest) -> list[LogRecord]:
    """Return the records of a request."""
    return [
        record
        for logs in request.resource_logs
        for scoped in logs.scope_logs
        for record in scoped.log_records
    ]


@contextmanager
def grpc_receiver(tls: tuple[Svid, Path | None] | None = None) -> Iterator[GrpcReceiver]:
    """Run a receiver."""
    receiver = GrpcReceiver(tls)
    try:
        yield receiver
    finally:
        receiver.stop()
