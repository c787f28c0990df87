"""``make bench``: what a check costs, in ratios between servers that take turns in one run.

Clocks of virtual machines drift by half and more from minute to minute. So every server is running
all the time, they are asked in random order in each round, and a number is the median over rounds:
compare within one run only. Servers have the first core, the load the second.
"""

import argparse
import json
import os
import platform
import random
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from itertools import cycle
from pathlib import Path

import yaml

from authz._pb import ext_authz_pb2 as pb
from bench import echo, inside
from bench.load import Connection, Result, closed_loop, open_loop
from lab.ca import Authority
from lab.config_builder import LAB
from lab.envoy import Envoy, bootstrap
from lab.issuer import Issuer, JwksServer
from lab.mesh import AUDIENCE, GATEWAY, ISSUER, TRAVEL, Server
from lab.processes import Process

METHOD = "/envoy.service.auth.v3.Authorization/Check"
ALLOWED = b"x-agent-decision-id"
ALGORITHMS = ("ES256", "RS256", "PS256", "Ed25519")
HEADERS = {
    ":authority": "mcp.corp.example",
    ":method": "GET",
    ":path": "/finance/balance",
    ":scheme": "https",
    "accept": "application/json, text/event-stream",
    "accept-encoding": "gzip, deflate",
    "content-type": "application/json",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "user-agent": "python-httpx/0.28.1",
    "x-envoy-internal": "true",
    "x-forwarded-for": "10.0.0.7",
    "x-forwarded-proto": "https",
    "x-request-id": "1b9c9c39-6c2f-4e0a-9c2b-9f4d3f4e2f11",
}
PATH = "/finance/00000000"
CALL = {
    "jsonrpc": "2.0",
    "id": 10_000_000,
    "method": "tools/call",
    "params": {
        "name": "search",
        "arguments": {
            "query": "trains from Zurich to Lisbon that leave on a Friday, " * 18,
            "filters": [{"field": f"field-{n}", "op": "eq", "value": n} for n in range(20)],
            "limit": 50,
        },
        "_meta": {"progressToken": 7},
    },
}
CHANGES = (
    LAB.with_section("cache", "{ttl: 1h}")
    .with_routes("[{name: tools, paths: [/mcp], protocol: mcp}]")
    .with_rules(
        "finance-read",
        "[{hosts: ['*'], methods: [POST], paths: [/mcp], scopes: [], "
        "mcp: {tools: [search, 'get_*']}}]",
    )
)
SWITCHED = "ours-switched"
BEFORE = "before"
PAIRS = 60
SETTLE_SECONDS = 0.25  # for the records of before to be written
MODES = ("one", "32", "1000/s", "2000/s")


@dataclass
class Cell:
    """One server under one load: medians over the rounds, in microseconds."""

    cpu: float = 0.0
    p50: float = 0.0
    p99: float = 0.0
    p999: float = 0.0
    per_second: float = 0.0


@dataclass
class Run:
    """What was measured."""

    rounds: int
    scale: float
    samples: dict[tuple[str, str], list[Cell]] = field(default_factory=dict)

    def note(self, name: str, mode: str, result: Result, cpu_seconds: float) -> None:
        """Take one measurement."""
        count = len(result.latencies)
        p50, p99, p999 = (result.percentile(part) * 1e6 for part in (0.5, 0.99, 0.999))
        cell = Cell(cpu_seconds / count * 1e6, p50, p99, p999, count / result.seconds)
        self.samples.setdefault((name, mode), []).append(cell)

    def cell(self, name: str, mode: str) -> Cell:
        """The medians."""
        rows = [asdict(cell) for cell in self.samples[name, mode]]
        return Cell(**{key: statistics.median(row[key] for row in rows) for key in rows[0]})

    def ratio(self, name: str, other: str, mode: str = "32", of: str = "cpu") -> float:
        """The median over the rounds of the ratio within each."""
        pairs = zip(self.samples[name, mode], self.samples[other, mode], strict=True)
        return float(statistics.median(getattr(a, of) / getattr(b, of) for a, b in pairs))


def cpu_seconds(pid: int) -> float:
    """CPU time of a process, its threads that live included, to the nanosecond."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def is_answering(path: Path) -> bool:
    """Whether somebody answers on a unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


class Bench:
    """Every server, running."""

    def __init__(self, folder: Path, stack: ExitStack, before: Path | None = None) -> None:
        """Start them, on the first core; ``before`` is a checkout whose server is one of them."""
        self.folder = folder
        self._stack = stack
        self.authority = Authority(folder / "pki")
        self.svid = self.authority.issue(TRAVEL)
        self.issuers = {name: Issuer(ISSUER, AUDIENCE, name) for name in ALGORITHMS}
        self.issuer = Issuer(ISSUER, AUDIENCE)
        for one in self.issuers.values():
            self.issuer.keys.update(one.keys)
        self.jwks = JwksServer(self.issuer)
        stack.callback(self.jwks.close)
        self.addresses: dict[str, str] = {}
        self.pids: dict[str, int] = {}
        os.sched_setaffinity(0, {0})
        begun = time.perf_counter()
        ours = self._ours("ours")
        ours.wait_ready()
        self.start_seconds = time.perf_counter() - begun
        self.server = ours
        self._add("ours", ours.process, ours.socket)
        self.answer = folder / "answer"
        self.answer.write_bytes(self._ask(ours.socket))
        for kind in ("bare", "stock"):
            self._start(kind, folder / f"{kind}.sock", self.answer)
        for kind in ("ours-stock", SWITCHED):
            unused = self._ours(kind)
            unused.process.stop()
            self._start(kind, unused.socket, unused.config)
        if before is not None:
            self._start_checkout(before)
        time.sleep(2)  # keys are fetched
        os.sched_setaffinity(0, {1})

    def _ours(self, name: str) -> Server:
        server = Server(self.folder, name, f"{self.jwks.url}/jwks", changes=CHANGES)
        self._stack.callback(server.process.stop)
        return server

    def _start_checkout(self, checkout: Path) -> None:
        unused = self._ours(BEFORE)
        unused.process.stop()
        # -P: the code of the working directory, which is ours, must not come first.
        command = [sys.executable, "-P", "-m", "authz", "serve", str(unused.config)]
        environment = {"PYTHONPATH": str(checkout)}
        process = Process(BEFORE, command, self.folder / "checkout.log", environment)
        self._stack.callback(process.stop)
        process.wait_until(lambda: is_answering(unused.socket))
        self._add(BEFORE, process, unused.socket)

    def _start(self, kind: str, path: Path, file: Path) -> None:
        command = [sys.executable, "-m", "bench.echo", kind, f"unix:{path}", str(file)]
        # As the command sets it for itself; the others are to be as most people have them.
        tuned = {"GRPC_EXPERIMENTS": "-event_engine_listener"}
        environment = {} if "stock" in kind else tuned
        process = Process(kind, command, self.folder / f"{kind}.log", environment)
        self._stack.callback(process.stop)
        process.wait_until(lambda: is_answering(path))
        self._add(kind, process, path)

    def _add(self, name: str, process: Process, path: Path) -> None:
        self.addresses[name] = f"unix:{path}"
        self.pids[name] = process.pid

    def _ask(self, path: Path) -> bytes:
        import grpc  # noqa: PLC0415 - a client of gRPC in the load's process costs it nothing here

        with grpc.insecure_channel(f"unix:{path}") as channel:
            answer: bytes = channel.unary_unary(METHOD, None, None)(
                self.message(self.issuer), timeout=5
            )
        return answer

    def call(self) -> bytes:
        """A CheckRequest for an MCP tool call with some 2 KB of body."""
        request = pb.CheckRequest.FromString(self.message(self.issuer, raw=True))
        http = request.attributes.request.http
        http.method, http.path = "POST", "/mcp"
        http.raw_body = json.dumps(CALL).encode()
        http.size = len(http.raw_body)
        further = {"content-length": str(http.size), "x-envoy-auth-partial-body": "false"}
        for name, value in further.items():
            http.header_map.headers.add(key=name, raw_value=value.encode())
        return request.SerializeToString()

    def message(self, issuer: Issuer, *, raw: bool = False) -> bytes:
        """A CheckRequest as Envoy sends it, with a fresh token."""
        request = pb.CheckRequest()
        request.attributes.source.principal = TRAVEL
        request.attributes.source.certificate = self.svid.url_encoded
        http = request.attributes.request.http
        http.method, http.host, http.path = "GET", "mcp.corp.example", PATH
        http.id, http.scheme, http.protocol = "1234567890", "https", "HTTP/2"
        token = issuer.token(TRAVEL, scope="balance:read")
        for name, value in {**HEADERS, "authorization": f"Bearer {token}"}.items():
            if raw:
                http.header_map.headers.add(key=name, raw_value=value.encode())
            else:
                http.headers[name] = value
        return request.SerializeToString()


def new_paths(message: bytes) -> Callable[[], bytes]:
    """The message with another path of the same length each time."""
    numbers: Iterator[int] = iter(range(random.randrange(10**7), 10**8))
    old = PATH.encode()
    return lambda: message.replace(old, b"/finance/%08d" % next(numbers))


def new_ids(message: bytes) -> Callable[[], bytes]:
    """The message with another id of its JSON-RPC request each time."""
    numbers: Iterator[int] = iter(range(random.randrange(10**7, 5 * 10**7), 10**8))
    old = str(CALL["id"]).encode()
    return lambda: message.replace(old, b"%d" % next(numbers))


def measure(bench: Bench, run: Run) -> None:
    """The rounds over the direct servers."""
    known = bench.message(bench.issuer)
    counts = {"one": 2000, "32": 16000, "1000/s": 2000, "2000/s": 4000}
    names = [name for name in bench.addresses if name != SWITCHED]
    for number in range(run.rounds):
        print(f"round {number + 1} of {run.rounds} ...", file=sys.stderr, flush=True)
        for name in random.sample(names, len(names)):
            for mode in MODES:
                count = int(counts[mode] * run.scale)
                _one(bench, run, (name, name, mode), lambda: known, count)
        makers: dict[str, tuple[Callable[[], bytes], int]] = {
            "ours, raw headers": (cycle([bench.message(bench.issuer, raw=True)]).__next__, 16000),
            "ours, new path": (new_paths(known), 8000),
            "ours, MCP call": (new_ids(bench.call()), 8000),
        }
        for name, issuer in bench.issuers.items():
            size = int(2000 * run.scale)
            messages = [bench.message(issuer) for _ in range(size + 400)]
            makers[f"ours, cold {name}"] = (iter(messages).__next__, 2000)
        for name in random.sample(list(makers), len(makers)):
            make, count = makers[name]
            _one(bench, run, (name, "ours", "32"), make, int(count * run.scale))


def recording(bench: Bench, run: Run) -> None:
    """What metrics and audit cost: pairs of short turns of one process, with them and without."""
    known, pid = bench.message(bench.issuer), bench.pids[SWITCHED]
    is_silent = False
    for _ in range(max(4, int(PAIRS * run.scale))):
        for name in random.sample(["recorded", "silent"], 2):
            if (name == "silent") != is_silent:
                os.kill(pid, echo.RECORDED if is_silent else echo.SILENT)
                is_silent = not is_silent
                time.sleep(SETTLE_SECONDS)
            _one(bench, run, (f"ours, {name}", SWITCHED, "32"), lambda: known, 1500)


def _one(
    bench: Bench, run: Run, what: tuple[str, str, str], make: Callable[[], bytes], count: int
) -> None:
    name, server, mode = what
    connection = Connection(bench.addresses[server], METHOD, ALLOWED)
    try:
        closed_loop(connection, make, 200, 8)  # warm
        before = cpu_seconds(bench.pids[server])
        if mode.endswith("/s"):
            result = open_loop(connection, make, count, float(mode.removesuffix("/s")))
        else:
            result = closed_loop(connection, make, count, 1 if mode == "one" else 32)
        run.note(name, mode, result, cpu_seconds(bench.pids[server]) - before)
    finally:
        connection.close()


def through_envoy(bench: Bench, run: Run, stack: ExitStack) -> None:
    """Three Envoys: alone, with the bare echo, with ours. The upstream is Envoy's own answer."""
    gateway = bench.authority.issue(GATEWAY, dns=("localhost",))
    envoys: dict[str, Envoy] = {}
    os.sched_setaffinity(0, {0})
    for name in ("alone", "bare", "ours"):
        path = Path(bench.addresses["bare" if name == "alone" else name].removeprefix("unix:"))
        text = bootstrap(
            server=gateway, bundle=bench.authority.path, upstream_port=9, sockets=[path]
        )
        envoy = Envoy(bench.folder, _answering(text, has_authz=name != "alone"), f"envoy-{name}")
        stack.callback(envoy.stop)
        envoys[name] = envoy.wait_ready()
    os.sched_setaffinity(0, {1})
    token = bench.issuer.token(TRAVEL, scope="balance:read")
    for _ in range(run.rounds):
        for name in random.sample(list(envoys), len(envoys)):
            connection = Connection(
                f"127.0.0.1:{envoys[name].port}",
                "/finance/balance",
                b"granted",
                tls=(bench.authority.path, bench.svid),
                headers=(("authorization", f"Bearer {token}"),),
            )
            for mode, count, in_flight in (("one", 2000, 1), ("32", 8000, 32)):
                closed_loop(connection, lambda: b"", 100, 1)
                before = cpu_seconds(envoys[name].process.pid)
                result = closed_loop(connection, lambda: b"", int(count * run.scale), in_flight)
                cpu = cpu_seconds(envoys[name].process.pid) - before
                run.note(f"Envoy, {name}", mode, result, cpu)
            connection.close()


def _answering(text: str, *, has_authz: bool) -> str:
    """The bootstrap with an answer of Envoy's own in place of the upstream."""
    config = yaml.safe_load(text)
    chain = config["static_resources"]["listeners"][0]["filter_chains"][0]
    manager = chain["filters"][0]["typed_config"]
    for host in manager["route_config"]["virtual_hosts"]:
        for route in host["routes"]:
            route.pop("route", None)
            route["direct_response"] = {"status": 200, "body": {"inline_string": "granted"}}
    if not has_authz:
        manager["http_filters"] = [
            one for one in manager["http_filters"] if "ext_authz" not in one["name"]
        ]
        for host in manager["route_config"]["virtual_hosts"]:
            host.pop("typed_per_filter_config", None)
    manager.pop("access_log", None)
    return json.dumps(config)


def report(run: Run, bench: Bench, notes: list[str]) -> str:
    """The tables, in Markdown."""
    lines = [
        f"{platform.system()}, {os.cpu_count()} cores, Python {platform.python_version()};",
        f"{run.rounds} rounds; checks of {len(bench.message(bench.issuer))} bytes.",
        "",
        "| server | load | CPU a check, us | p50 us | p99 us | p99.9 us | a second |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, mode in run.samples:
        cell = run.cell(name, mode)
        lines.append(
            f"| {name} | {mode} | {cell.cpu:.1f} | {cell.p50:.0f} | {cell.p99:.0f} "
            f"| {cell.p999:.0f} | {cell.per_second:.0f} |"
        )
    return "\n".join([*lines, "", *notes])


def ratios(run: Run, raw: dict[str, float]) -> list[str]:
    """The targets, and what was measured."""
    bare = run.cell("bare", "32").cpu
    cold = run.cell("ours, cold ES256", "32").cpu
    alone = run.cell("Envoy, alone", "one").p50
    added = (run.cell("Envoy, ours", "one").p50 - alone) / (
        run.cell("Envoy, bare", "one").p50 - alone
    )
    silent = 1 - 1 / run.ratio("ours, recorded", "ours, silent")
    mcp = run.ratio("ours, MCP call", "ours, raw headers")
    rows = [
        ("remembered / bare echo on our transport", run.ratio("ours", "bare"), 1.10),
        ("remembered / stock grpcio echo", run.ratio("ours", "stock"), 1.10),
        ("remembered / the same on stock grpcio", run.ratio("ours", "ours-stock"), 0.80),
        ("new path, known token / bare echo", run.ratio("ours, new path", "bare"), 1.25),
        ("new path, known token / stock echo", run.ratio("ours, new path", "stock"), 1.25),
        ("MCP call with 2 KB of body / remembered", run.ratio("ours, MCP call", "ours"), 1.50),
        ("MCP call with 2 KB of body / raw headers", mcp, 1.50),
        ("(cold ES256 - bare echo) / raw verification", (cold - bare) / raw["ES256"], 2.5),
        ("metrics and audit, part of a remembered check", silent, 0.05),
        ("through Envoy, added p50 / that of the bare echo", added, 1.10),
    ]
    if (BEFORE, "32") in run.samples:
        rows.append(("remembered / before", run.ratio("ours", BEFORE), 1.02))
    lines = ["| ratio | measured | target |", "|---|---|---|"]
    lines.extend(f"| {name} | {value:.2f} | {target:.2f} |" for name, value, target in rows)
    return lines


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--scale", type=float, default=1.0, help="part of the requests")
    parser.add_argument("--json", type=Path, help="also write the cells to this file")
    parser.add_argument("--inside", action="store_true", help="only what needs no server")
    parser.add_argument(
        "--before", type=Path, metavar="CHECKOUT", help="another checkout, measured in the same run"
    )
    options = parser.parse_args()
    if options.inside:
        print("\n".join(inside.report(options.scale)))
        return
    run = Run(options.rounds, options.scale)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        bench = Bench(Path(folder), stack, options.before)
        measure(bench, run)
        recording(bench, run)
        through_envoy(bench, run, stack)
        raw = {name: inside.raw_verify_us(name) for name in ALGORITHMS}
        verify = ", ".join(f"{name} {value:.1f}" for name, value in raw.items())
        notes = [
            *ratios(run, raw),
            "",
            f"Raw signature verification, us: {verify}.",
            f"From start to ready: {bench.start_seconds:.2f} s.",
        ]
        print(report(run, bench, notes))
    if options.json:
        cells = {f"{n}|{m}": asdict(run.cell(n, m)) for n, m in run.samples}
        options.json.write_text(json.dumps(cells, indent=1) + "\n")
    print("\n" + "\n".join(inside.report(options.scale)))


if __name__ == "__main__":
    main()
