"""A gRPC server on loopback that answers a method with OK, and without the message."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc


@contextmanager
def answering_nothing(method: str) -> Iterator[str]:
    """Run one for a method, named as in a URL's path; yield its URL."""
    # A stream may end before its first message, and looks to the client of a single one like this.
    nothing = grpc.unary_stream_rpc_method_handler(lambda *_: iter(()))
    service, _, name = method.removeprefix("/").partition("/")
    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool)
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, {name: nothing}),)
        )
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.stop(None).wait()
