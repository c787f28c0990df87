"""A real ``authz serve`` of a test's own: it has its standard error, and checks go over gRPC."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any, Final

import grpc

from authz._pb import ext_authz_pb2 as pb
from lab.ca import Authority
from lab.config_builder import LAB, ConfigBuilder
from lab.issuer import Issuer, JwksServer
from lab.mesh import AUDIENCE, CONFIG, ISSUER, TRAVEL, sample_of
from support.audit_schema import require_valid_file
from support.canary import canary
from support.world import PATIENCE_SECONDS, READ, check_request, reason_of, wait_until

SECONDS: Final = PATIENCE_SECONDS
_CHECK: Final = "/envoy.service.auth.v3.Authorization/Check"
_SET_PIPE_SIZE: Final = 1031  # F_SETPIPE_SZ of fcntl(2), which Python 3.11 names on some systems


class Serving(AbstractContextManager["Serving"]):
    """The process, an issuer with keys, and a client."""

    def __init__(
        self,
        folder: Path,
        changes: ConfigBuilder = LAB,
        *,
        workers: int = 1,
        stderr: "IO[bytes] | int" = subprocess.PIPE,
        stdout: "IO[bytes] | int | None" = None,
        command: Sequence[str] = (),
    ) -> None:
        """Start the process. ``changes`` are of the config; ``command`` runs the program."""
        self.folder = folder
        self.issuer = Issuer(ISSUER, AUDIENCE)
        self.jwks = JwksServer(self.issuer)
        self.svid = Authority(folder / "pki").issue(TRAVEL)
        self.revoked = folder / "revoked.jsonl"
        self.revoked.touch()
        self.config = folder / "authz.yaml"
        self.socket = folder / "authz-0.sock"
        self.write_config(changes, workers)
        program = [*command, sys.executable, "-m", "authz", "serve", str(self.config)]
        self.process = subprocess.Popen(program, stderr=stderr, stdout=stdout)
        self._channel = grpc.insecure_channel(f"unix:{self.socket}")
        self.call = self._channel.unary_unary(_CHECK, bytes, bytes)
        self.admin = ""

    def write_config(self, changes: ConfigBuilder, workers: int = 1) -> None:
        """Write the config."""
        text = CONFIG.format(
            socket=self.folder / "authz-{worker}.sock",
            admin_port=0,
            drain=f"1s\n  workers: {workers}",
            jwks_uri=f"{self.jwks.url}/jwks",
            audit=self.folder / "audit.jsonl",
        )
        revoking = LAB.with_(("revocations",), {"file": str(self.revoked)})
        fresh = self.config.with_suffix(".new")
        fresh.write_text(revoking.and_(changes).edit(text))
        fresh.rename(self.config)

    def __exit__(self, *_: object) -> None:
        """End the process, whatever its state."""
        self._channel.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pipe in (self.process.stderr, self.process.stdout):
            if pipe is not None:
                pipe.close()
        self.jwks.close()
        require_valid_file(self.folder / "audit.jsonl")

    def read_until(self, word: str) -> list[dict[str, Any]]:
        """Read the log's lines up to a line with this message; note the admin address."""
        assert self.process.stderr is not None
        lines: list[dict[str, Any]] = []
        while not lines or word not in str(lines[-1]):
            line = self.process.stderr.readline()
            assert line, "it ended"
            canary.note("log", line)
            lines.append(json.loads(line))
            if not str(lines[-1].get("admin", "unix:")).startswith("unix:"):  # a worker's own
                self.admin = lines[-1]["admin"]
        return lines

    def shrink_pipe(self) -> None:
        """Let the pipe of its log hold a page and no more."""
        for pipe in (self.process.stderr, self.process.stdout):
            if pipe is not None:
                fcntl.fcntl(pipe, _SET_PIPE_SIZE, 4096)

    def get(self, path: str) -> tuple[int, str]:
        """Send a GET to the admin address, and return status and body."""
        try:
            with urllib.request.urlopen(f"http://{self.admin}{path}", timeout=SECONDS) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metric(self, sample: str) -> float:
        """Return a sample of a scrape, 0 if it is missing."""
        return sample_of(self.get("/metrics")[1], sample)

    def garbage(self, times: int) -> None:
        """Ask with bytes that are not a CheckRequest, as soon as a worker that is up listens."""
        for _ in range(times):
            self.call(b"\xff\xff\xff", timeout=SECONDS, wait_for_ready=True)

    def ask(self) -> str:
        """Ask for the travel agent and alice, and return "allow", or the reason."""
        token = self.issuer.token(TRAVEL, scope=READ)
        request = check_request(self.svid, [("authorization", f"Bearer {token}")])
        answer = self.call(request.SerializeToString(), timeout=SECONDS, wait_for_ready=True)
        return reason_of(pb.CheckResponse.FromString(answer))

    def until(self, reason: str) -> None:
        """Ask until that is the answer."""
        wait_until(lambda: self.ask() == reason)

    def revoke(self) -> None:
        """Revoke the travel agent."""
        with self.revoked.open("a") as file:
            file.write(json.dumps({"agent": TRAVEL}) + "\n")

    def stop(self) -> int:
        """Send SIGTERM, and return the exit status."""
        os.kill(self.process.pid, signal.SIGTERM)
        return self.process.wait(SECONDS)


def children_of(serving: Serving) -> list[int]:
    """Return the process IDs of a server's workers."""
    pid = serving.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
