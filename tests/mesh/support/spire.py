"""Runs a real SPIRE server and agent of one trust domain, on loopback."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography import x509

from lab.ca import Svid
from lab.processes import Process
from mesh.support.free_ports import free_ports
from mesh.support.groups import in_group, output_of, succeeds
from mesh.support.tools import tool
from support.world import wait_until

SERVER_CONF: Final = """\
server {{
  bind_address = "127.0.0.1"
  bind_port = "{port}"
  socket_path = "{folder}/server.sock"
  trust_domain = "{trust_domain}"
  data_dir = "{folder}/server"
  log_level = "INFO"
  ca_ttl = "{lifetimes.authority}"
  agent_ttl = "1h"
  default_x509_svid_ttl = "{lifetimes.x509_svid}"
  default_jwt_svid_ttl = "{lifetimes.jwt_svid}"
  {federation}
}}
plugins {{
  DataStore "sql" {{ plugin_data {{
    database_type = "sqlite3"
    connection_string = "{folder}/server/store.sqlite3"
  }} }}
  NodeAttestor "join_token" {{ plugin_data {{}} }}
  KeyManager "disk" {{ plugin_data {{ keys_path = "{folder}/server/keys.json" }} }}
}}
"""
AGENT_CONF: Final = """\
agent {{
  data_dir = "{folder}/agent"
  log_level = "INFO"
  server_address = "127.0.0.1"
  server_port = "{port}"
  socket_path = "{folder}/agent.sock"
  trust_bundle_path = "{folder}/bootstrap.pem"
  trust_domain = "{trust_domain}"
  experimental {{ sync_interval = "1s" }}
}}
plugins {{
  NodeAttestor "join_token" {{ plugin_data {{}} }}
  KeyManager "disk" {{ plugin_data {{ directory = "{folder}/agent" }} }}
  WorkloadAttestor "unix" {{ plugin_data {{}} }}
}}
"""
ENDPOINT: Final = """\
federation {{ bundle_endpoint {{
    address = "127.0.0.1"
    port = {port}
    refresh_hint = "10s"
    profile "https_spiffe" {{}}
  }} }}"""


@dataclass(frozen=True)
class Lifetimes:
    """How long what SPIRE issues is valid, in Go's notation."""

    authority: str = "24h"
    x509_svid: str = "1h"
    jwt_svid: str = "5m"


class Spire:
    """A SPIRE server and agent; workloads are told apart by their group."""

    def __init__(self, folder: Path, trust_domain: str, lifetimes: Lifetimes | None = None) -> None:
        """Take a folder of its own with a short path, for sockets; ``start`` begins."""
        self.folder, self.trust_domain = folder, trust_domain
        self.agent_socket = folder / "agent.sock"
        (folder / "server").mkdir(parents=True)
        (folder / "agent").mkdir()
        port, self.endpoint_port = free_ports(2)
        names = {"folder": folder, "trust_domain": trust_domain, "port": port}
        federation = ENDPOINT.format(port=self.endpoint_port)
        lived = lifetimes or Lifetimes()
        server = SERVER_CONF.format(**names, lifetimes=lived, federation=federation)
        (folder / "server.conf").write_text(server)
        (folder / "agent.conf").write_text(AGENT_CONF.format(**names))
        self._join_token = ""

    def start(self) -> "Spire":
        """Start the server, then the agent with a join token."""
        self.start_server()
        (self.folder / "bootstrap.pem").write_text(self.bundle("pem"))
        node = ("-spiffeID", self.spiffe_id("/node"))
        made = json.loads(self.control("token", "generate", *node, "-output", "json"))
        self._join_token = made["value"]
        self.start_agent()
        return self

    def start_server(self) -> None:
        """Start the server, and wait until it says that it is well."""
        self.server = self._run("spire-server")

    def start_agent(self) -> None:
        """Start the agent, and wait until it says that it is well."""
        self.agent = self._run("spire-agent", "-joinToken", self._join_token)

    def _run(self, name: str, *options: str) -> Process:
        program, part = str(tool(name)), name.removeprefix("spire-")
        config, socket = self.folder / f"{part}.conf", self.folder / f"{part}.sock"
        command = [program, "run", "-config", str(config), *options]
        process = Process(name, command, self.folder / f"{part}.log")
        well = [program, "healthcheck", "-socketPath", str(socket)]
        return process.wait_until(lambda: succeeds(well), 120)

    def stop(self) -> None:
        """Stop both."""
        for name in ("agent", "server"):
            if hasattr(self, name):
                getattr(self, name).stop()

    def spiffe_id(self, path: str) -> str:
        """Return the SPIFFE ID of this path in the trust domain."""
        return f"spiffe://{self.trust_domain}{path}"

    def control(self, *words: str) -> str:
        """Run a command of the server, and return what it printed."""
        socket = str(self.folder / "server.sock")
        return output_of([str(tool("spire-server")), *words, "-socketPath", socket])

    def bundle(self, form: str = "spiffe") -> str:
        """Return the trust domain's bundle, as ``pem`` or as the ``spiffe`` JSON document."""
        return self.control("bundle", "show", "-format", form)

    def trust(self, other: "Spire") -> None:
        """Take the other trust domain's bundle, so that entries may federate with it."""
        path = self.folder / f"{other.trust_domain}.json"
        path.write_text(other.bundle())
        peer = ("-id", other.spiffe_id(""), "-format", "spiffe", "-path", str(path))
        self.control("bundle", "set", *peer)

    def enter(self, spiffe_id: str, group: int, *more: str) -> None:
        """Create the entry of a workload, and wait until the agent serves it."""
        parent = ("-parentID", self.spiffe_id("/node"))
        what = ("-spiffeID", spiffe_id, "-selector", f"unix:gid:{group}")
        self.control("entry", "create", *parent, *what, *more)
        wait_until(lambda: succeeds(self._api(group, "x509")), 60)

    def authorities(self, kind: str) -> dict[str, Any]:
        """Return the ``x509`` or ``jwt`` authorities: active, prepared, old."""
        shown: dict[str, Any] = json.loads(
            self.control("localauthority", kind, "show", "-output", "json")
        )
        return shown

    def change_authority(self, kind: str, *steps: str) -> None:
        """Take steps with an authority: prepare, activate, taint, revoke."""
        of = {"activate": "prepared", "taint": "old", "revoke": "old"}
        for step in steps:
            words = []
            if step in of:
                words = ["-authorityID", self.authorities(kind)[of[step]]["authority_id"]]
            self.control("localauthority", kind, step, *words)

    def x509_svid(self, group: int, folder: Path) -> Svid:
        """Fetch the X509-SVID of a workload into files of a folder; bundle.0.pem lies beside."""
        folder.mkdir(parents=True, exist_ok=True)
        output_of(self._api(group, "x509", "-write", str(folder)))
        pem, key = folder / "svid.0.pem", folder / "svid.0.key"
        leaf = x509.load_pem_x509_certificates(pem.read_bytes())[0]
        return Svid(leaf, pem.read_text(), key.read_text(), pem, key)

    def jwt_svid(self, group: int, *audiences: str) -> str:
        """Fetch a JWT-SVID; the agent keeps them by audiences, and gives the same again."""
        told = output_of(
            self._api(group, "jwt", "-audience", ",".join(audiences), "-output", "json")
        )
        tokens: list[str] = [
            svid["svid"] for one in json.loads(told) for svid in one.get("svids", [])
        ]
        return tokens[0]

    def _api(self, group: int, kind: str, *more: str) -> Sequence[str]:
        words = ["api", "fetch", kind, "-socketPath", str(self.agent_socket), "-timeout", "10s"]
        return in_group(group, [str(tool("spire-agent")), *words, *more])
