"""The part of the mesh that makes delegation tokens: ``authz sts`` as a process, and its policy."""

import json
import sys
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlencode

from lab.ca import Authority, Svid
from lab.client import Client, Reply
from lab.config_builder import AT_ALICE, LAB, ConfigBuilder
from lab.envoy import NOBODY
from lab.issuer import MADE
from lab.live_files import logged
from lab.processes import Process

ISSUER: Final = "https://sts.corp.example"
HOST: Final = "sts.corp.example"
FRONT_END: Final = "orchestrator-app"  # the client at which Alice logs in
DESK: Final = "https://mcp.corp.example/agents/travel"  # the travel agent, as others call it
DESK_PATH: Final = "/agents/travel/tasks"
ASK: Final = "travel:ask"
APPROVAL: Final = "https://corp.example/authz/call"
_TYPE: Final = "urn:ietf:params:oauth:token-type:"
ACCESS_TOKEN: Final = f"{_TYPE}access_token"
ID_TOKEN: Final = f"{_TYPE}id_token"
GRANT: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
_FORM: Final = ("content-type", "application/x-www-form-urlencoded")
_FINANCE: Final = "https://mcp.corp.example/finance"
_TRIPS: Final = "https://mcp.corp.example/trips"

_ISSUER: Final = """\
- issuer: {issuer}
  keys: {{jwks_uri: "https://localhost:{port}/jwks.json", ca_file: "{ca}", cooldown: 1s}}
  audiences: [{finance}, {trips}, {desk}]
  algorithms: [ES256]
  proof: required
  approval_types: [{approval}]
"""
_STS: Final = """\
issuer: {issuer}
listen: 127.0.0.1:0
admin: {{listen: 127.0.0.1:0}}
tls: {{certificate: "{certificate}", private_key: "{key}", client_ca: "{ca}"}}
make: "{make}"
id_tokens:
  - {{issuer: https://as.corp.example, client_ids: [{front_end}]}}
rules:
  - name: begin
    description: who logged in at the orchestrator lets it ask the travel agent
    agents: [spiffe://corp.example/ns/agents/sa/orchestrator]
    subject_audiences: [{front_end}]
    audiences: [{desk}]
    scopes: ["travel:ask", "balance:read", "trips:read", "trips:book"]
  - name: hand-on
    description: the travel agent goes on with what the orchestrator was given
    agents: [spiffe://corp.example/ns/agents/sa/travel]
    subject_audiences: [{desk}]
    via: [spiffe://corp.example/ns/agents/sa/orchestrator]
    audiences: [{finance}, {trips}]
    scopes: ["balance:read", "trips:read", "trips:book"]
    lifetime: 2m
    authorization_details: [{approval}]
"""
_ROUTES: Final = """\
- name: desk
  paths: [/agents/travel/**]
  resource: {desk}
  upstream_token: forward
"""
_DESK: Final = """\
- hosts: [mcp.corp.example]
  methods: [POST]
  paths: [/agents/travel/**]
  scopes: ["travel:ask"]
"""
_DEAR: Final = """\
- hosts: [mcp.corp.example]
  methods: [POST]
  paths: [/trips/**]
  scopes: ["trips:book"]
  when: operation.arguments.price > 500.0
  approval: {{type: {approval}, arguments: [to, price]}}
  mcp: {{tools: [book_trip]}}
"""
_ORCHESTRATOR: Final = """\
- id: spiffe://corp.example/ns/agents/sa/orchestrator
  grants: [desk, finance-read, trips-read, trips-book]
"""
_ALICE: Final = """\
- match: {{issuer: {issuer}, subjects: [alice]}}
  grants: [desk, finance-read, trips-read, trips-book, trips-dear]
"""
_ASSERTIONS: Final = """\
issuer: https://authz.corp.example
make: "{folder}/assertion-key.pem"
listen: 127.0.0.1:0
insecure: true
"""


class TokenService:
    """An ``authz sts`` process, whose config a server has too: both know where its keys are."""

    def __init__(self, folder: Path, authority: Authority, name: str = "sts") -> None:
        """Take a folder for its files, and the CA of agents, which issues its certificate too."""
        self.files = folder / name
        self._authority = authority
        self._own = authority.issue(dns=("localhost",))
        self.consents = folder / f"{name}.consents.jsonl"
        self.consents.touch()
        self.config = folder / f"{name}.yaml"
        self.audit = folder / f"{name}.audit.jsonl"
        self.key = folder / f"{name}-key.pem"
        self.port = NOBODY

    def names(self) -> dict[str, object]:
        """Return its address and files, as a config names them."""
        return {
            "issuer": ISSUER,
            "port": self.port,
            "make": self.key,
            "ca": self._authority.path,
            "certificate": self._own.certificate_path,
            "key": self._own.key_path,
        }

    def changes(self) -> ConfigBuilder:
        """Return what the config of the mesh has besides, for a mesh with an MCP server."""
        names = {
            **self.names(),
            "folder": self.files.parent,
            "front_end": FRONT_END,
            "desk": DESK,
            "finance": _FINANCE,
            "trips": _TRIPS,
            "approval": APPROVAL,
        }
        return (
            LAB.with_items(("issuers",), _ISSUER.format_map(names), before=1)
            .with_section("sts", _STS.format_map(names))
            .with_section("consents", f"file: {self.consents}")
            .with_section("assertions", _ASSERTIONS.format_map(names))
            .with_routes(_ROUTES.format_map(names))
            .with_(("routes", "finance", "upstream_token"), "assert")
            .with_grant("desk", _DESK)
            .with_grant("trips-dear", _DEAR.format_map(names))
            .with_agents(_ORCHESTRATOR)
            .with_items(("agents", _TRAVEL, "grants"), "[trips-dear]")
            .with_items((*AT_ALICE, "grants"), "[desk]")
            .with_items(("principals",), _ALICE.format_map(names), before=1)
        )

    def client(self, svid: Svid | None) -> Client:
        """Make a client of it with an SVID."""
        return Client(self.port, self._authority.path, svid)

    def start(self, config: str) -> Self:
        """Start it with the text of a config."""
        self.config.write_text(config)
        command = [sys.executable, "-m", "authz", "sts", str(self.config)]
        self.process = Process("sts", command, self.files.with_suffix(".log"))
        return self

    def wait_ready(self) -> Self:
        """Wait until it makes tokens. Raises ProcessError."""
        self.process.wait_until(self._is_ready)
        return self

    def metrics(self) -> str:
        """Return the text of /metrics."""
        address = logged(self.process.log, "admin")[0]
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as response:
            body: bytes = response.read()
            return body.decode()

    def _is_ready(self) -> bool:
        for address in logged(self.process.log, "listen"):
            self.port = int(address.rpartition(":")[2])
        return self.port != NOBODY


_TRAVEL: Final = "spiffe://corp.example/ns/agents/sa/travel"


def ask(
    client: Client, token: str, token_type: str = ACCESS_TOKEN, *, proof: str = "", **form: str
) -> Reply:
    """Ask a token service to exchange a token (RFC 8693 section 2.1); its error is the reason.

    ``proof`` is a DPoP proof.
    """
    fields = {
        "grant_type": GRANT,
        "subject_token": token,
        "subject_token_type": token_type,
        **form,
    }
    body, headers = urlencode(fields).encode(), [_FORM, *([("dpop", proof)] if proof else [])]
    reply = client.request("POST", "/token", headers, body, host=HOST)
    answer = json.loads(reply.body)
    if "access_token" in answer:
        MADE.append(answer["access_token"])
    return replace(reply, headers={**reply.headers, "x-authz-reason": answer.get("error", "")})


def token_of(reply: Reply) -> str:
    """Return the token of an answer. Raises KeyError for a refusal."""
    return str(json.loads(reply.body)["access_token"])
