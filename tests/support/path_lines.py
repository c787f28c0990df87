"""Lines to two upstreams, one in Python and one in Go: straight, and through a real Envoy."""

import json
import shutil
import socket
import ssl
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from typing import Self, get_args

from authz.core.paths import Form
from lab.client import tls_context
from lab.config_builder import AT_PUBLIC_RULE, LAB
from lab.envoy import Envoy, bootstrap
from lab.mesh import TRAVEL, Mesh
from lab.processes import Process

HERE = Path(__file__).parent
ALL = ", ".join(get_args(Form))
CHANGES = LAB.with_routes(f"[{{name: open, paths: [/open/**], accept_ambiguous: [{ALL}]}}]").with_(
    (*AT_PUBLIC_RULE, "paths"), ["/strict/**", "/open/**"]
)
# Envoy as it passes paths on untouched: then nobody but agent-authz refuses any.
UNTOUCHED = {
    "normalize_path: true": "normalize_path: false",
    "merge_slashes: true": "merge_slashes: false",
    "path_with_escaped_slashes_action: REJECT_REQUEST": (
        "path_with_escaped_slashes_action: KEEP_UNCHANGED"
    ),
}


@dataclass(frozen=True)
class Answer:
    """A response, and whether it came from the upstream.

    Attributes:
        segments: what the upstream's router found; None where it found no such path.
    """

    status: int
    reason: str
    is_from_upstream: bool
    raw: str = ""
    segments: tuple[str, ...] | None = None


class Line:
    """A kept connection, over which any target can be requested."""

    def __init__(self, port: int, tls: ssl.SSLContext | None, token: str = "") -> None:
        """Take the address to connect to; with TLS through a proxy."""
        self._port, self._tls = port, tls
        self._head = b"host: mcp.corp.example\r\n"
        if token:
            self._head += f"authorization: Bearer {token}\r\n".encode()
        self._connection: socket.socket | None = None

    def ask(self, target: bytes) -> Answer:
        """Send a GET of exactly this target."""
        if self._connection is None:
            self._connection = self._connect()
        self._connection.sendall(b"GET %b HTTP/1.1\r\n%b\r\n" % (target, self._head))
        response = HTTPResponse(self._connection, method="GET")
        response.begin()
        body = response.read()
        if response.will_close:
            self.close()
        is_from_upstream = self._tls is None or "x-envoy-upstream-service-time" in response.headers
        answer = (response.status, response.headers.get("x-authz-reason", ""), is_from_upstream)
        if response.status != 200:
            return Answer(*answer)
        seen = json.loads(body)
        return Answer(*answer, seen["raw"], tuple(seen["segments"]))

    def _connect(self) -> socket.socket:
        plain = socket.create_connection(("127.0.0.1", self._port), 10)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._tls.wrap_socket(plain, server_hostname="localhost") if self._tls else plain

    def close(self) -> None:
        """Hang up."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None


class Lines:
    """Both upstreams: reached directly, through the Envoy that we ship, and through one untouched.

    Attributes:
        direct, shipped, untouched: a line to each upstream, by its name.
    """

    def __init__(self, mesh: Mesh, folder: Path) -> None:
        """Take a mesh, and a folder for files and logs."""
        self._mesh, self._folder = mesh, folder
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Start everything."""
        try:
            ports = {"python": self._python(), "go": self._go()}
            server = self._mesh.server("paths", CHANGES).wait_ready()
            self.direct = {name: self._line(port, None) for name, port in ports.items()}
            self.shipped = self._through("shipped", ports, server.socket, {})
            self.untouched = self._through("untouched", ports, server.socket, UNTOUCHED)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop everything."""
        self._stack.close()

    def _python(self) -> int:
        return self._upstream("python", [sys.executable, str(HERE / "path_upstream.py")])

    def _go(self) -> int:
        go = shutil.which("go")
        assert go, "this test builds a small server with Go: install it, so that `go` is found"
        binary = self._folder / "go-upstream"
        source = HERE / "data" / "path_upstream.go"
        subprocess.run([go, "build", "-o", str(binary), str(source)], check=True, timeout=240)
        return self._upstream("go", [str(binary)])

    def _upstream(self, name: str, command: list[str]) -> int:
        file = self._folder / f"{name}.port"
        process = Process(name, [*command, str(file)], self._folder / f"{name}.log")
        self._stack.callback(process.stop)
        process.wait_until(lambda: file.exists() and file.read_text() != "")
        return int(file.read_text())

    def _through(
        self, kind: str, ports: dict[str, int], authz: Path, changes: dict[str, str]
    ) -> dict[str, Line]:
        mesh, lines = self._mesh, {}
        tls = tls_context(mesh.authority.path, mesh.authority.issue(TRAVEL))
        for name, port in ports.items():
            config = bootstrap(
                server=mesh.gateway,
                bundle=mesh.authority.path,
                upstream_port=port,
                sockets=[authz],
                changes=changes,
            )
            envoy = Envoy(self._folder, config, f"{kind}-{name}")
            self._stack.callback(envoy.stop)
            lines[name] = self._line(envoy.wait_ready().port, tls)
        return lines

    def _line(self, port: int, tls: ssl.SSLContext | None) -> Line:
        line = Line(port, tls, self._mesh.issuer.token(TRAVEL) if tls else "")
        self._stack.callback(line.close)
        return line
