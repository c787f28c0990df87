"""Servers to hold ours against: they answer every check with the same bytes, or decide as we do.

``python -m bench.echo KIND SOCKET FILE``: KIND is ``bare`` (our transport, a constant answer),
``stock`` (grpcio as most use it, a constant answer). FILE holds the answer.
"""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

from authz.server.pool import CheckPool
from authz.server.transport import SERVICE


def main() -> None:
    """Serve until killed."""
    kind, address, file = sys.argv[1:]
    answer = Path(file).read_bytes()

    def check(_: bytes, __: object) -> bytes:
        return answer

    handlers = {"Check": grpc.unary_unary_rpc_method_handler(check)}
    pool = ThreadPoolExecutor(4) if kind == "stock" else CheckPool(4)
    server = grpc.server(pool)  # type: ignore[arg-type] # any executor will do
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    if kind == "bare":
        server.add_registered_method_handlers(SERVICE, handlers)  # type: ignore[attr-defined]
    server.add_insecure_port(address)
    server.start()
    print("ready", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
