"""The service behind the proxy: answers with the request that it received, header by header."""

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Upstream:
    """An HTTP/1.1 echo on loopback. Its answer is JSON: method, path, headers, body length."""

    def __init__(self) -> None:
        """Start serving on a free port."""
        self.requests = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

            def echo(self) -> None:
                outer.requests += 1
                received = self.read_body()
                body = json.dumps(
                    {
                        "method": self.command,
                        "path": self.path,
                        "headers": [[k.lower(), v] for k, v in self.headers.items()],
                        "body_bytes": received,
                    }
                ).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def read_body(self) -> int:
                if self.headers.get("transfer-encoding") != "chunked":
                    return len(self.rfile.read(int(self.headers.get("content-length") or 0)))
                received = 0
                while size := int(self.rfile.readline(), 16):
                    received += len(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return received

            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = echo  # noqa: N815 - its names

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
