"""The servers that the bench compares, each running all the time on the first core."""

import json
import os
import socket
import sys
import time
from compileall import compile_dir
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import authz
from authz.review.audit_chain.keys import make_key
from bench.build import BuildError, build_c, build_go
from bench.loads import METHOD, Generator, in_c, in_python
from bench.measure import cpu_seconds, resident_mb
from bench.messages import Messages
from lab.ca import Authority
from lab.config_builder import LAB, ConfigBuilder
from lab.issuer import Issuer, JwksServer
from lab.mesh import AUDIENCE, ISSUER, TRAVEL, Server
from lab.processes import Process
from lab.redis import RedisMissingError, redis_command

ALGORITHMS: Final = ("ES256", "RS256", "PS256", "Ed25519")
SERVER_CORE, LOAD_CORE = {0}, {1}
OURS: Final = "ours"
GRPCIO: Final = "ours, grpcio"
SWITCHED: Final = "ours-switched"
CHAINED: Final = "ours-chained"  # the same, with audit.chain
SHARED: Final = "ours, with a store"
ASSERTING: Final = "ours, with assertions"
BEFORE: Final = "before"
C_ECHO: Final = "C echo"
GO_ECHO: Final = "Go echo"
GO: Final = "Go"
GO_CACHE: Final = "Go, token cache"
# Ten rules with those of the lab, for a server that tries one after the other. These come first.
OTHER_RULES: Final = [
    {"hosts": ["mcp.corp.example"], "methods": ["GET"], "paths": [f"/{name}/**"], "scopes": [scope]}
    for name, scope in (
        ("orders", "orders:read"),
        ("invoices", "invoices:read"),
        ("customers", "customers:read"),
        ("reports", "reports:read"),
        ("travel", "travel:read"),
        ("hotels", "hotels:read"),
    )
]
MCP_RULE: Final = {
    "hosts": ["*"],
    "methods": ["POST"],
    "paths": ["/mcp"],
    "scopes": [],
    "mcp": {"tools": ["search", "get_*"]},
}
RULES: Final = [*OTHER_RULES, MCP_RULE]
CHANGES: Final = (
    LAB.with_section("cache", "{ttl: 1h}")
    .with_routes("[{name: tools, paths: [/mcp], protocol: mcp}]")
    .with_rules("finance-read", json.dumps(RULES))
)
ON_GRPCIO: Final = CHANGES.with_(("server", "transport"), "grpcio")
KEYS_SECONDS: Final = 2.0  # until everybody has fetched the issuer's keys


class Bench:
    """Every server, running."""

    def __init__(self, folder: Path, stack: ExitStack, before: Path | None = None) -> None:
        """Start them, on the first core; ``before`` is a checkout whose server is one of them."""
        self.folder = folder
        self.left_out: list[str] = []
        self.addresses: dict[str, str] = {}
        self.pids: dict[str, int] = {}
        self._stack = stack
        self.authority = Authority(folder / "pki")
        self.issuers = {name: Issuer(ISSUER, AUDIENCE, name) for name in ALGORITHMS}
        self.issuer = Issuer(ISSUER, AUDIENCE)
        for one in self.issuers.values():
            self.issuer.keys.update(one.keys)
        self.svid = self.authority.issue(TRAVEL)
        self.messages = Messages(self.svid, self.issuer)
        self.jwks = JwksServer(self.issuer)
        stack.callback(self.jwks.close)
        self.generator: Generator = in_python
        os.sched_setaffinity(0, SERVER_CORE)
        self._start_ours()
        self._start_echoes()
        self._start_asserting()
        self._build("that shares a store", self._start_shared)
        if before is not None:
            self._start_checkout(before)
        self._build("in C, and the fast load generator", self._start_in_c)
        self._build("in Go", self._start_in_go)
        time.sleep(KEYS_SECONDS)
        os.sched_setaffinity(0, LOAD_CORE)

    def _start_ours(self) -> None:
        compile_dir(Path(authz.__file__).parent, quiet=1)  # as an installer does
        begun = time.perf_counter()
        ours = self._ours(OURS).wait_ready()
        self.start_seconds = time.perf_counter() - begun
        self.start_cpu_seconds = cpu_seconds(ours.process.pid)
        self.rest_mb = resident_mb(ours.process.pid)
        self.server = ours
        self._add(OURS, ours.process, ours.socket)
        grpcio = self._ours("ours-grpcio", ON_GRPCIO).wait_ready()
        self._add(GRPCIO, grpcio.process, grpcio.socket)

    def _start_echoes(self) -> None:
        self.answer = self.folder / "answer"
        self.answer.write_bytes(self._ask(Path(self.addresses[OURS].removeprefix("unix:"))))
        for kind in ("bare", "stock"):
            self._start_kind(kind, self.folder / f"{kind}.sock", self.answer)
        for name, kind, changes in (
            ("ours-stock", "ours-stock", ON_GRPCIO),
            (SWITCHED, "ours-switched", CHANGES),
            (CHAINED, "ours-switched", CHANGES.with_(("audit", "chain"), self._chain())),
        ):
            unused = self._ours(name, changes)
            unused.process.stop()
            self._start_kind(kind, unused.socket, unused.config, name)

    def _chain(self) -> dict[str, str]:
        key = self.folder / "audit.key"
        make_key(key)
        return {"key": str(key)}

    def _start_shared(self) -> None:
        """Start a store and a server that uses it. Raises BuildError without a program."""
        try:
            command, environment = redis_command()
        except RedisMissingError as error:
            raise BuildError(str(error)) from None
        path = self.folder / "store.sock"
        options = ["--port", "0", "--unixsocket", str(path), "--save", ""]
        log = self.folder / "store.log"
        store = Process("store", [*command, *options], log, environment)
        self._stack.callback(store.stop)
        store.wait_until(lambda: is_answering(path))
        shared = CHANGES.with_(("store",), {"url": f"unix://{path}"})
        server = self._ours(SHARED.replace(" ", "-"), shared).wait_ready()
        self._add(SHARED, server.process, server.socket)

    def _start_asserting(self) -> None:
        """Start a server whose upstreams get assertions, each for as long as a run takes."""
        section = {
            "issuer": "https://authz.corp.example",
            "make": str(self.folder / "signing.pem"),
            "lifetime": "10m",
            "listen": "127.0.0.1:0",
            "insecure": True,
        }
        asserting = CHANGES.with_(("assertions",), section).with_(
            ("routes", "finance", "upstream_token"), "assert"
        )
        server = self._ours(ASSERTING.replace(" ", "-"), asserting).wait_ready()
        self._add(ASSERTING, server.process, server.socket)

    def _start_in_c(self) -> None:
        programs = build_c()
        self.load_program = programs / "load"
        self.generator = in_c(self.load_program)
        path = self.folder / "c-echo.sock"
        self._start(C_ECHO, [programs / "echo", path, self.answer], path)

    def _start_in_go(self) -> None:
        programs = build_go()
        alone = {"GOMAXPROCS": "1"}  # on one core, as all are
        path = self.folder / "go-echo.sock"
        self._start(GO_ECHO, [programs / "echo", path, self.answer], path, alone)
        rules = self.folder / "rules.json"
        rules.write_text(json.dumps(go_rules()))
        whose = ["-issuer", ISSUER, "-audience", AUDIENCE, "-rules", rules]
        for name, flags in ((GO, []), (GO_CACHE, ["-cache"])):
            path = self.folder / f"go-{len(flags)}.sock"
            where = ["-socket", path, "-jwks", f"{self.jwks.url}/jwks"]
            self._start(name, [programs / "decider", *flags, *where, *whose], path, alone)

    def _build(self, what: str, start: Any) -> None:  # noqa: ANN401 - a method
        try:
            start()
        except BuildError as error:
            self.left_out.append(f"what is {what}: {error}")

    def _ours(self, name: str, changes: ConfigBuilder = CHANGES) -> Server:
        server = Server(self.folder, name, f"{self.jwks.url}/jwks", changes=changes)
        self._stack.callback(server.process.stop)
        return server

    def _start_checkout(self, checkout: Path) -> None:
        unused = self._ours(BEFORE)
        unused.process.stop()
        # -P: the code of the working directory, which is ours, must not come first.
        command = [sys.executable, "-P", "-m", "authz", "serve", unused.config]
        self._start(BEFORE, command, unused.socket, {"PYTHONPATH": str(checkout)})

    def _start_kind(self, kind: str, path: Path, file: Path, name: str = "") -> None:
        command = [sys.executable, "-m", "bench.echo", kind, f"unix:{path}", file]
        # As the command sets it for itself; the others are to be as most people have them.
        tuned = {"GRPC_EXPERIMENTS": "-event_engine_listener"}
        self._start(name or kind, command, path, {} if "stock" in kind else tuned)

    def _start(
        self,
        name: str,
        command: list[Any],
        path: Path,
        environment: dict[str, str] | None = None,
    ) -> None:
        log = self.folder / f"{path.stem}.log"
        process = Process(name, [str(part) for part in command], log, environment)
        self._stack.callback(process.stop)
        process.wait_until(lambda: is_answering(path))
        self._add(name, process, path)

    def _add(self, name: str, process: Process, path: Path) -> None:
        self.addresses[name] = f"unix:{path}"
        self.pids[name] = process.pid

    def _ask(self, path: Path) -> bytes:
        import grpc  # noqa: PLC0415 - a client of gRPC in the load's process costs it nothing here

        with grpc.insecure_channel(f"unix:{path}") as channel:
            answer: bytes = channel.unary_unary(METHOD, None, None)(self.messages.one(), timeout=5)
        return answer


def go_rules() -> list[dict[str, Any]]:
    """Return the ten rules of our config as the server in Go reads them, in their order."""
    of_lab = [
        ("/finance/**", ["mcp.corp.example"], "GET", ["balance:read"]),
        ("/finance/payments/*", ["mcp.corp.example"], "POST", ["payments:write"]),
        ("/public/**", [], "GET", []),
    ]
    ours: list[tuple[str, list[str], str, list[str]]] = [
        *((r["paths"][0], r["hosts"], "GET", r["scopes"]) for r in OTHER_RULES),
        ("/mcp", [], "POST", []),
        *of_lab,
    ]
    return [
        {
            "name": f"rule-{number}",
            "agents": [TRAVEL],
            "subjects": ["alice"],
            "path": path,
            "hosts": hosts,
            "methods": [method],
            "scopes": scopes,
            "tools": ["search", "get_*"] if path == "/mcp" else [],
        }
        for number, (path, hosts, method, scopes) in enumerate(ours)
    ]


def is_answering(path: Path) -> bool:
    """Whether somebody answers on a unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0
