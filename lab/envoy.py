"""Runs the real Envoy with the bootstraps that we ship; only addresses and files are replaced."""

import json
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from authz.starter.envoy_tls import AGENT_SOCKET, SPIRE_FILE, TLS_FILE
from authz.starter.template import replace_all
from lab.ca import Svid
from lab.processes import Process

ROOT = Path(__file__).parent.parent
SHIPPED = ROOT / "envoy" / "envoy.yaml"
SHIPPED_TLS = SHIPPED.with_name(TLS_FILE)
SHIPPED_SPIRE = SHIPPED.with_name(SPIRE_FILE)
NOBODY = 9  # a port where nobody listens
_AUTHZ_ENDPOINT = "- endpoint: {address: {pipe: {path: /run/authz/authz.sock}}}"
_AUTHZ_ADDRESS = """\
- endpoint:
                  address:
                    socket_address:
                      address: agent-authz-pods.agent-authz.svc.cluster.local
                      port_value: 9191
"""


class EnvoyMissingError(RuntimeError):
    """There is no Envoy binary; the message says how to get one."""


def envoy_binary() -> str:
    """Return the path of Envoy: AUTHZ_ENVOY, the project's virtual environment, or PATH."""
    local = ROOT / ".venv-envoy" / "bin" / "envoy"
    found = os.environ.get("AUTHZ_ENVOY") or (str(local) if local.exists() else None)
    found = found or shutil.which("envoy")
    if not found:
        raise EnvoyMissingError("no Envoy: run 'make setup', or set AUTHZ_ENVOY to its path")
    return found


def bootstrap(
    *,
    server: Svid,
    bundle: Path,
    upstream_port: int,
    sockets: Sequence[Path],
    mcp_port: int = NOBODY,
    changes: Mapping[str, str] | None = None,
) -> str:
    """Return the shipped bootstrap for the lab. Raises KeyError if a text to replace is missing."""
    indent = "\n              "
    endpoints = indent.join(
        _AUTHZ_ENDPOINT.replace("/run/authz/authz.sock", str(path)) for path in sockets
    )
    replacements = {
        **_addresses(upstream_port, mcp_port),
        **_files(server, bundle),
        _AUTHZ_ENDPOINT: endpoints,
        **(changes or {}),
    }
    return replace_all(SHIPPED.read_text(), replacements)


def tls_bootstrap(
    *,
    server: Svid,
    bundle: Path,
    upstream_port: int,
    ports: Sequence[int],
    changes: Mapping[str, str] | None = None,
) -> str:
    """Return the shipped bootstrap that asks on these ports by mutual TLS, for the lab.

    Raises KeyError if a text to replace is missing.
    """
    return _over_network(
        SHIPPED_TLS, upstream_port, ports, {**_files(server, bundle), **(changes or {})}
    )


def spire_bootstrap(
    *,
    agent_socket: Path,
    upstream_port: int,
    ports: Sequence[int],
    changes: Mapping[str, str] | None = None,
) -> str:
    """Return the shipped bootstrap with certificates from a SPIRE agent, for the lab.

    Raises KeyError if a text to replace is missing.
    """
    agent = {AGENT_SOCKET: str(agent_socket)}
    return _over_network(SHIPPED_SPIRE, upstream_port, ports, {**agent, **(changes or {})})


def _over_network(
    shipped: Path, upstream_port: int, ports: Sequence[int], changes: Mapping[str, str]
) -> str:
    indent = "              "
    place = "- endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}\n"
    endpoints = indent.join(place % port for port in ports)
    replacements = {**_addresses(upstream_port, NOBODY), _AUTHZ_ADDRESS: endpoints, **changes}
    return replace_all(shipped.read_text(), replacements)


def _addresses(upstream_port: int, mcp_port: int) -> dict[str, str]:
    return {
        "address: 127.0.0.1, port_value: 9901": "address: 127.0.0.1, port_value: 0",
        "address: 0.0.0.0, port_value: 8443": "address: 127.0.0.1, port_value: 0",
        "address: 127.0.0.1, port_value: 8080": f"address: 127.0.0.1, port_value: {upstream_port}",
        "address: 127.0.0.1, port_value: 8090": f"address: 127.0.0.1, port_value: {mcp_port}",
    }


def _files(server: Svid, bundle: Path) -> dict[str, str]:
    return {
        "/etc/envoy/tls/server.pem": str(server.certificate_path),
        "/etc/envoy/tls/server.key": str(server.key_path),
        "/etc/envoy/tls/corp.example.pem": str(bundle),
    }


class Envoy:
    """A running Envoy."""

    def __init__(
        self, folder: Path, config: str, name: str = "envoy", prefix: Sequence[str] = ()
    ) -> None:
        """Start Envoy with this bootstrap; ``wait_ready`` learns its port.

        ``prefix`` is a command that runs Envoy's, such as one that changes its group.
        """
        path = folder / f"{name}.yaml"
        path.write_text(config)
        self._admin_file = folder / f"{name}.admin"
        self.process = Process(
            name,
            [
                *prefix,
                envoy_binary(),
                "--config-path",
                str(path),
                "--admin-address-path",
                str(self._admin_file),
                "--concurrency",
                "1",
                "--use-dynamic-base-id",
                "--log-level",
                "warning",
                "--drain-time-s",
                "1",
                "--file-flush-interval-msec",  # of its access log; 10 s if nothing is said
                "200",
            ],
            folder / f"{name}.log",
        )
        self.port = 0

    def wait_ready(self) -> "Envoy":
        """Wait until Envoy accepts agents. Raises ProcessError."""
        self.process.wait_until(self._is_ready)
        return self

    def _is_ready(self) -> bool:
        try:
            if "LIVE" not in self.admin("/ready"):
                return False
            listeners = json.loads(self.admin("/listeners?format=json"))
        except (OSError, ValueError):
            return False
        for status in listeners.get("listener_statuses", []):
            self.port = status["local_address"]["socket_address"]["port_value"]
        return self.port != 0 and self._authz_is_healthy()

    def _authz_is_healthy(self) -> bool:
        return "::health_flags::healthy" in "\n".join(
            line for line in self.admin("/clusters").splitlines() if line.startswith("authz::")
        )

    def admin(self, path: str) -> str:
        """Send a GET to Envoy's admin interface."""
        address = self._admin_file.read_text().strip()
        if not address:
            raise ValueError("no admin address yet")
        with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as response:
            body: bytes = response.read()
            return body.decode()

    def stat(self, name: str) -> int:
        """Return the value of a counter or gauge, 0 if it does not exist."""
        for line in self.admin(f"/stats?filter={name}").splitlines():
            key, _, value = line.partition(": ")
            if key.endswith(name):
                return int(value)
        return 0

    def stop(self) -> None:
        """Stop Envoy."""
        self.process.stop()
