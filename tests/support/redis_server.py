"""A real Redis or Valkey server on loopback: alone, with Sentinels, or as a cluster of one node."""

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
import redis

from lab.ca import Svid
from lab.redis import RedisMissingError, redis_command
from support.world import wait_until

SERVICE: Final = "store"
# Below the ports that the system gives to clients, so that none takes it while a server restarts.
_PORTS: Final = range(20_000, 32_000)
# Nothing is kept on the disk, and a replica is up to date at once.
_ALWAYS: Final = ("daemonize no", 'save ""', "repl-diskless-sync-delay 0", "timeout 0")
_ADMIN: Final = "user admin on nopass ~* &* +@all"


class RedisTls(NamedTuple):
    """TLS of a server: its certificate, its CA, and whether clients must have a certificate."""

    server: Svid
    ca: Path
    clients_must: bool = False


def redis_or_skip() -> tuple[list[str], dict[str, str]]:
    """Return a server's command and environment. Skips the test, or fails it, without any."""
    try:
        return redis_command()
    except RedisMissingError as error:
        if os.environ.get("AUTHZ_NEEDS_REDIS"):
            pytest.fail(str(error))
        pytest.skip(str(error))


def free_port() -> int:
    """Return a port that nothing listens on, and that no client is given."""
    while True:
        port = random.choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class RedisServer(AbstractContextManager["RedisServer"]):
    """A server that can be stopped or killed, and started again at the same address.

    ``lines`` are of its config: ``user NAME on >PASSWORD ...`` makes a user. A user ``admin`` is
    always there, on a unix socket too.

    Attributes:
        port: of 127.0.0.1.
        address: host:port.
        url: as in the config of a store; the TLS one if it has TLS.
        socket: the path of its unix socket.
        pid: its process.
    """

    def __init__(self, *lines: str, tls: RedisTls | None = None, sentinel: bool = False) -> None:
        """Start, and wait until it answers."""
        self._command, self._environment = redis_or_skip()
        self._folder = Path(tempfile.mkdtemp(prefix="redis-"))  # short: the path of a socket is
        self._tls, self._is_sentinel = tls, sentinel
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"redis{'s' if tls else ''}://localhost:{self.port}"
        self.socket = self._folder / "s"
        self._config = self._folder / "redis.conf"
        always = [f"dir {self._folder}", f"unixsocket {self.socket}", *self._network(), _ADMIN]
        always += () if sentinel else _ALWAYS
        self._config.write_text("\n".join([*always, *lines, ""]))
        self.start()

    def _network(self) -> list[str]:
        bind = "bind 127.0.0.1"
        if self._tls is None:
            return [bind, f"port {self.port}"]
        server, must = self._tls.server, self._tls.clients_must
        return [
            bind,
            "port 0",
            f"tls-port {self.port}",
            f"tls-cert-file {server.certificate_path}",
            f"tls-key-file {server.key_path}",
            f"tls-ca-cert-file {self._tls.ca}",
            f"tls-auth-clients {'yes' if must else 'no'}",
        ]

    def start(self) -> None:
        """Start, at the same port as before, and wait until it answers."""
        command = [*self._command, str(self._config), *(["--sentinel"] * self._is_sentinel)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, env=self._environment, stdout=log, stderr=log, cwd=self._folder
            )
        wait_until(self._answers)

    @property
    def pid(self) -> int:
        """Return the number of its process."""
        return self._process.pid

    def _answers(self) -> bool:
        assert self._process.poll() is None, self.log()
        try:
            with self.admin() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def log(self) -> str:
        """Return what it has logged."""
        return (self._folder / "log").read_text()

    def admin(self, **options: Any) -> redis.Redis:
        """Open a client that may do everything."""
        return redis.Redis(
            unix_socket_path=str(self.socket), username="admin", password="any", **options
        )

    def kill(self) -> None:
        """End it as ``kill -9`` does, and wait for the end."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def pause(self) -> None:
        """Stop its process: connections stay, and nothing answers."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let its process go on."""
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it in an orderly way, and wait for the end."""
        self.resume()
        self._process.terminate()
        self._process.wait()

    def restart(self) -> None:
        """Kill it, and start it again: without its data, as it keeps none unless lines say so."""
        self.kill()
        self.start()

    def __exit__(self, *_: object) -> None:
        """End it, and remove its files."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


@dataclass(frozen=True)
class Trio:
    """A primary, its replica, and a Sentinel that knows them as ``SERVICE``."""

    primary: RedisServer
    replica: RedisServer
    sentinel: RedisServer

    def primary_port(self) -> int:
        """Return the port of the server that the Sentinel calls the primary one."""
        with self.sentinel.admin() as client:
            found: Any = client.sentinel_get_master_addr_by_name(SERVICE)
        return int(found[1])

    def is_replicating(self) -> bool:
        """Tell whether the Sentinel knows a replica that is up to date with its primary."""
        with self.sentinel.admin() as client:
            known: Sequence[Any] = client.sentinel_slaves(SERVICE)
        return any(
            replica["master-link-status"] == "ok" and not replica["is_disconnected"]
            for replica in known
        )

    def fail_over(self) -> None:
        """Have the Sentinel make the replica primary, and wait until it is."""
        before = self.primary_port()
        with self.sentinel.admin() as client:
            client.sentinel_failover(SERVICE)
        wait_until(lambda: self.primary_port() != before)


@contextmanager
def sentinel_trio(*lines: str, down_after_seconds: float = 5.0) -> Iterator[Trio]:
    """Run a primary and a replica with these lines, and a Sentinel, and wait until they agree."""
    primary = RedisServer(*lines)
    with primary, RedisServer(*lines, f"replicaof 127.0.0.1 {primary.port}") as replica:
        settings = (
            f"sentinel monitor {SERVICE} 127.0.0.1 {primary.port} 1",
            f"sentinel down-after-milliseconds {SERVICE} {int(down_after_seconds * 1000)}",
            f"sentinel failover-timeout {SERVICE} 10000",
        )
        with RedisServer(*settings, sentinel=True) as sentinel:
            trio = Trio(primary, replica, sentinel)
            wait_until(trio.is_replicating)
            yield trio


@contextmanager
def one_node_cluster(*lines: str) -> Iterator[RedisServer]:
    """Run a cluster of one node that has all slots."""
    bus = f"cluster-port {free_port()}"
    with RedisServer("cluster-enabled yes", bus, *lines) as server:
        with server.admin() as client:
            ask: Any = client.execute_command
            ask("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            wait_until(lambda: "cluster_state:ok" in str(ask("CLUSTER", "INFO")))
        yield server
