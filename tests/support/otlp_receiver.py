"""A collector of spans: a real OTLP service over gRPC and HTTP, in this process or one of its own.

``python -m support.otlp_receiver`` prints its two ports, and takes spans until its input ends.
"""

import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from support.canary import canary

EXPORT = "Export"
SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"
Answer = Callable[[bytes], bytes]


class Receiver:
    """A collector that keeps what it takes.

    Attributes:
        requests: what was sent, in its order.
        headers: those of each request, in lower case.
        code: the gRPC status to fail with; None to take the spans.
        status: the HTTP status to answer.
        retry_after: the Retry-After of HTTP's answers, None for none.
        answer: the body of each answer.
    """

    def __init__(self, credentials: grpc.ServerCredentials | None = None) -> None:
        """Listen on free ports of loopback."""
        self.requests: list[ExportTraceServiceRequest] = []
        self.headers: list[dict[str, str]] = []
        self.code: grpc.StatusCode | None = None
        self.status = 200
        self.retry_after: str | None = None
        self.answer = ExportTraceServiceResponse().SerializeToString()
        self.tries = 0
        self._grpc = grpc.server(ThreadPoolExecutor(2))
        handler = grpc.unary_unary_rpc_method_handler(self._export)
        self._grpc.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, {EXPORT: handler}),)
        )
        if credentials is None:
            self.port = self._grpc.add_insecure_port("127.0.0.1:0")
        else:
            self.port = self._grpc.add_secure_port("127.0.0.1:0", credentials)
        self._grpc.start()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.http_port = self._http.server_port
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop listening."""
        self.close()

    def close(self) -> None:
        """Stop listening."""
        self._grpc.stop(None).wait()
        self._http.shutdown()
        self._http.server_close()

    @property
    def url(self) -> str:
        """Where it takes spans over gRPC."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def http_url(self) -> str:
        """Where it takes spans by HTTP."""
        return f"http://127.0.0.1:{self.http_port}/v1/traces"

    @property
    def spans(self) -> list[Span]:
        """All spans that were taken."""
        return [
            span
            for request in list(self.requests)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def resources(self) -> list[dict[str, str]]:
        """The attributes of each request's resource."""
        return [
            attributes_of(resource.resource)
            for request in list(self.requests)
            for resource in request.resource_spans
        ]

    def _export(self, data: bytes, context: grpc.ServicerContext) -> bytes:
        self.tries += 1
        self.headers.append({key: str(value) for key, value in context.invocation_metadata()})
        if self.code is not None:
            context.abort(self.code, "secret words of the collector")
        self._keep(data)
        return self.answer

    def _keep(self, data: bytes) -> None:
        canary.note("spans", data)
        self.requests.append(ExportTraceServiceRequest.FromString(data))

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.tries += 1
                data = self.rfile.read(int(self.headers["content-length"]))
                receiver.headers.append({key.lower(): value for key, value in self.headers.items()})
                if receiver.status == 200:
                    receiver._keep(data)
                self.send_response(receiver.status)
                self.send_header("content-type", "application/x-protobuf")
                if receiver.retry_after is not None:
                    self.send_header("retry-after", receiver.retry_after)
                self.send_header("content-length", str(len(receiver.answer)))
                self.end_headers()
                self.wfile.write(receiver.answer)

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        return Handler


def attributes_of(holder: Any) -> dict[str, str]:
    """The attributes of a span or a resource, all of which are texts."""
    return {one.key: one.value.string_value for one in holder.attributes}


if __name__ == "__main__":
    with Receiver() as standing:
        print(standing.port, standing.http_port, flush=True)  # noqa: T201 - for who started it
        sys.stdin.read()
