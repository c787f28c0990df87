"""``python -m bench.overload``: what is left of a server while it is asked for more than it can do.

The server is asked for five times as many new tokens a second as it can verify, by one proxy, while
another sends a steady trickle of checks whose decision is remembered. It says whether those were
served, and how fast; whether the others were refused within the deadline; how memory went; and how
soon it was itself again. ``--minutes 10`` is the long run.

The new tokens are valid, and are asked for again in turn: each when the server has long forgotten
it, since it may remember fewer than there are. Each token that came in time costs a verification.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from authz._pb import ext_authz_pb2 as pb
from bench.build import build_c
from bench.loads import WARM, Asking, Load, in_c
from bench.measure import resident_mb
from bench.messages import Messages, write
from bench.servers import CHANGES, LOAD_CORE, SERVER_CORE
from lab.ca import Authority
from lab.issuer import Issuer, JwksServer
from lab.mesh import AUDIENCE, ISSUER, TRAVEL, Server

TIMES: Final = 5
DEADLINE_MS: Final = 250  # what Envoy gives a check by default is 200
TRICKLE: Final = 50  # a second
TOKENS: Final = 20_000
REMEMBERED: Final = (
    2_000  # tokens and decisions, a tenth: a token is forgotten before its next turn
)
TOKEN_SECONDS: Final = 7200
CAPACITY_CALLS: Final = 3_000
SAMPLES: Final = 10
PREFIX_BYTES: Final = 5
AFTER_SECONDS: Final = 0.5
SMALL_CACHE: Final = f"{{entries: {REMEMBERED}, tokens: {REMEMBERED}, ttl: 1h}}"


@dataclass
class Overloaded:
    """A server, and what it is asked."""

    server: Server
    program: Path
    folder: Path
    messages: Messages
    issuer: Issuer

    @property
    def address(self) -> str:
        """Return where it listens."""
        return f"unix:{self.server.socket}"

    def calm(self, count: int = 250) -> Any:  # noqa: ANN401 - a Summary
        """Ask for what is remembered, at the trickle's pace, with nothing else going on."""
        ask, load = in_c(self.program), Load(per_second=TRICKLE)
        return ask(self.address, self.messages.remembered(), count, load, lambda: None)

    def capacity(self, tokens: Path) -> float:
        """Return how many new tokens a second it verifies when 32 are in flight."""
        how = ["closed", "32"]
        asking = Asking(self.program, self.address, tokens, WARM, CAPACITY_CALLS, how)
        asking.wait_warm()
        return CAPACITY_CALLS / float(asking.result()["seconds"])

    def overload(self, tokens: Path, rate: float, seconds: float) -> Iterator[str]:
        """Ask for too much for so long, and yield what came of it, line by line."""
        how = ["open", str(rate), str(DEADLINE_MS)]
        remembered = write(self.folder / "remembered", self.messages.remembered(), 512)
        trickle = ["open", str(TRICKLE), str(DEADLINE_MS)]
        much = Asking(self.program, self.address, tokens, WARM, int(rate * seconds), how)
        few = Asking(self.program, self.address, remembered, WARM, int(TRICKLE * seconds), trickle)
        for asking in (few, much):
            asking.wait_warm()
        for asking in (few, much):
            asking.go()
        sizes = self._sizes(seconds)
        yield "memory, MB, over time: " + ", ".join(f"{size:.0f}" for size in sizes)
        time.sleep(AFTER_SECONDS)  # after the last was due, whatever is still to be answered
        after = self.calm(100)
        yield _told("remembered", few.result(has_begun=True))
        told = much.result(has_begun=True)
        yield _told("new tokens", told)
        yield f"a refusal was answered with {_status(told['sample'])}"
        yield f"half a second later: p50 {after.p50 * 1e6:.0f} us, p99 {after.p99 * 1e6:.0f} us"

    def _sizes(self, seconds: float) -> list[float]:
        sizes = []
        for _ in range(SAMPLES):
            time.sleep(seconds / SAMPLES)
            sizes.append(resident_mb(self.server.process.pid))
        return sizes


def _told(what: str, told: dict[str, Any]) -> str:
    """Return what a generator found, as one line."""
    parts = [f"{what}:"]
    for kind in ("allowed", "refused", "failed"):
        found = told[kind]
        if found["count"]:
            p50, p99, most = (found[name] * 1e3 for name in ("p50", "p99", "most"))
            parts.append(f"{found['count']} {kind} (p50 {p50:.1f} ms, p99 {p99:.1f}, {most:.0f});")
    late, lost = told["late"], told["lost"]
    statuses = {number: count for number, count in enumerate(told["statuses"]) if count}
    parts.extend(f"{count} of gRPC status {number};" for number, count in statuses.items())
    return " ".join([*parts, f"{late} after {DEADLINE_MS} ms, {lost} never answered"])


def _status(sample: str) -> str:
    """Return the HTTP status of a refusal, of which we have the first bytes."""
    if not sample:
        return "nothing, there was none"
    answer = pb.CheckResponse.FromString(bytes.fromhex(sample)[PREFIX_BYTES:])
    return str(answer.denied_response.status.code)


def main() -> None:
    """Measure, and print."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are stopped too
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=0.5, help="how long; ten for the long run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        overloaded = _start(Path(folder), stack)
        make = overloaded.messages.new_tokens(
            overloaded.issuer, exp=int(time.time()) + TOKEN_SECONDS
        )
        tokens = write(Path(folder) / "tokens", make, TOKENS)
        calm = overloaded.calm()
        print(f"calm: p50 {calm.p50 * 1e6:.0f} us, p99 {calm.p99 * 1e6:.0f} us", flush=True)
        rate = TIMES * overloaded.capacity(tokens)
        print(f"asked for {rate:.0f} new tokens a second, {TIMES} times what it can", flush=True)
        for line in overloaded.overload(tokens, rate, options.minutes * 60):
            print(line, flush=True)


def _start(folder: Path, stack: ExitStack) -> Overloaded:
    authority, issuer = Authority(folder / "pki"), Issuer(ISSUER, AUDIENCE)
    jwks = JwksServer(issuer)
    stack.callback(jwks.close)
    program = build_c() / "load"
    os.sched_setaffinity(0, SERVER_CORE)
    changes = CHANGES.without(("cache",)).with_section("cache", SMALL_CACHE)
    changes = changes.with_(("audit", "path"), "/dev/null")  # a record of each would fill the disk
    # The generator has one connection for all of the run.
    changes = changes.with_(("server", "max_connection_age"), "2h")
    server = Server(folder, "ours", f"{jwks.url}/jwks", changes=changes)
    stack.callback(server.process.stop)
    server.wait_ready()
    os.sched_setaffinity(0, LOAD_CORE)
    return Overloaded(server, program, folder, Messages(authority.issue(TRAVEL), issuer), issuer)


if __name__ == "__main__":
    main()
