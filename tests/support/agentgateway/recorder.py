"""Stands between a gateway and agent-authz: passes each call on as it is, and keeps it."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

import grpc

_THREADS: Final = 8
_SECONDS: Final = 60.0  # gRPC tells a missing deadline as a very late one


class Exchange(NamedTuple):
    """A call: the method's name, the question's and the answer's bytes."""

    rpc: str
    question: bytes
    answer: bytes


def _as_it_is(data: bytes) -> bytes:
    return data


class Recorder(grpc.GenericRpcHandler):  # type: ignore[type-arg] # not generic when it runs
    """A gRPC server on a free port of loopback."""

    def __init__(self, server: Path) -> None:
        """Pass calls on to the server at this socket."""
        self._lock = threading.Lock()
        self._kept: list[Exchange] = []
        self._channel = grpc.insecure_channel(f"unix:{server}")
        self._server = grpc.server(ThreadPoolExecutor(_THREADS))
        self._server.add_generic_rpc_handlers((self,))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def service(self, details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes]":
        """Return the handler of a call, whatever its method is."""
        method = str(details.method)

        def passed_on(question: bytes, context: grpc.ServicerContext) -> bytes:
            timeout = min(context.time_remaining(), _SECONDS)
            ask = self._channel.unary_unary(method, _as_it_is, _as_it_is)
            answer: bytes = ask(question, timeout=timeout)
            with self._lock:
                self._kept.append(Exchange(method.rpartition("/")[2], question, answer))
            return answer

        return grpc.unary_unary_rpc_method_handler(passed_on, _as_it_is, _as_it_is)

    def taken(self) -> list[Exchange]:
        """Return the calls since the last time."""
        with self._lock:
            kept, self._kept = self._kept, []
        return kept

    def stop(self) -> None:
        """Stop serving."""
        self._server.stop(None).wait()
        self._channel.close()
