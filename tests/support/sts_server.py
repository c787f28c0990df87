"""The token service, in this process or in one of its own: real TLS, keys and config."""

import json
import socket
import ssl
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Final, Self

import httpx
import pytest
from prometheus_client import generate_latest

from authz.server.reload import ConfigSource
from authz.server.sts_process import StsProcess, open_token_service
from lab.ca import Authority, Svid
from lab.config_builder import LAB, ConfigBuilder
from lab.issuer import MADE, Issuer, JwksServer
from lab.live_files import logged, whole_records
from lab.mesh import AUDIENCE, CONFIG, ISSUER, ORCHESTRATOR, TRAVEL
from lab.processes import Process
from support.audit_schema import require_valid_file
from support.canary import canary
from support.world import PATIENCE_SECONDS, READ, wait_until

STS: Final = "https://sts.corp.example"
HUB: Final = "https://hub.corp.example"  # what alice's own token is for: the orchestrator
EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"
FORM: Final = "application/x-www-form-urlencoded"
_SECTION: Final = """
issuer: {issuer}
listen: "127.0.0.1:0"
admin: {{listen: "127.0.0.1:0"}}
tls: {{certificate: "{certificate}", private_key: "{key}", client_ca: "{ca}"}}
make: "{folder}/sts.pem"
lifetime: 5m
subjects: [{{issuer: {subject}}}]
rules:
  - name: orchestrator
    agents: ["{orchestrator}"]
    subject_audiences: ["{hub}"]
    audiences: ["{audience}", "{issuer}"]
    scopes: ["balance:read"]
  - name: travel
    agents: ["{travel}"]
    via: ["{orchestrator}"]
    audiences: ["{audience}"]
    scopes: ["balance:read"]
"""


class TokenServiceWorld(AbstractContextManager["TokenServiceWorld"]):
    """A token service, the issuer of its subject tokens, and the CA of its clients."""

    def __init__(self, folder: Path, changes: ConfigBuilder = LAB, issuer: str = ISSUER) -> None:
        """Write keys, certificates and the config; ``serving`` starts the service."""
        self.folder = folder
        self.authority = Authority(folder / "pki")
        self.server_svid = self.authority.issue(
            "spiffe://corp.example/ns/authz/sa/sts", dns=("localhost",)
        )
        self.issuer = Issuer(issuer, HUB)
        self.audit_path = folder / "audit.jsonl"
        self.config_path = folder / "authz.yaml"
        self.url = ""
        self._opened = ExitStack()
        self.jwks = self._opened.enter_context(closing(JwksServer(self.issuer)))
        self.changes = changes
        self.write_config()

    def write_config(self, more: ConfigBuilder = LAB) -> None:
        """Write the config, with further changes."""
        text = CONFIG.format(
            socket="/nowhere/authz.sock",
            admin_port=0,
            drain="2s",
            jwks_uri=f"{self.jwks.url}/jwks",
            audit=self.audit_path,
        )
        section = _SECTION.format(
            issuer=STS,
            certificate=self.server_svid.certificate_path,
            key=self.server_svid.key_path,
            ca=self.authority.path,
            folder=self.folder,
            subject=self.issuer.url,
            orchestrator=ORCHESTRATOR,
            travel=TRAVEL,
            hub=HUB,
            audience=AUDIENCE,
        )
        builder = (
            LAB.with_(("issuers", 0, "audiences"), [AUDIENCE, HUB])
            .with_agents(f"- {{id: {ORCHESTRATOR}, grants: [finance-read]}}")
            .with_section("sts", section)
            .and_(self.changes)
            .and_(more)
        )
        self.config_path.write_text(builder.edit(text))

    def client(self, agent: str | Svid | None = ORCHESTRATOR, **more: Any) -> httpx.Client:
        """Return an HTTP client that shows the certificate of an agent, None for none."""
        return httpx.Client(
            base_url=self.url,
            verify=self.context(agent),
            timeout=PATIENCE_SECONDS,
            **more,
        )

    def context(self, agent: str | Svid | None = ORCHESTRATOR) -> ssl.SSLContext:
        """Return the TLS context of an agent, None for a client without a certificate."""
        context = ssl.create_default_context(cafile=str(self.authority.path))
        svid = self.authority.issue(agent) if isinstance(agent, str) else agent
        if svid is not None:
            context.load_cert_chain(svid.certificate_path, svid.key_path)
        return context

    def connect(self, agent: str | Svid | None = ORCHESTRATOR) -> ssl.SSLSocket:
        """Return a raw TLS connection."""
        port = int(self.url.rpartition(":")[2])
        plain = socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)
        return self.context(agent).wrap_socket(plain, server_hostname="localhost")

    def subject(self, subject: str = "alice", scope: str = READ, **changes: Any) -> str:
        """Make a subject token: alice's for the orchestrator, without an actor."""
        return self.issuer.token("", subject, scope, **{"act": None, **changes})

    def form(self, **changes: str | None) -> dict[str, str]:
        """Return the form of a valid request; a change to None leaves a parameter out."""
        form = {
            "grant_type": EXCHANGE,
            "subject_token": self.subject(),
            "subject_token_type": ACCESS_TOKEN,
            "resource": AUDIENCE,
        } | changes
        return {name: value for name, value in form.items() if value is not None}

    def exchange(self, http: httpx.Client, **changes: str | None) -> httpx.Response:
        """Ask for a token; its texts are canaries from then on."""
        return noted(http.post("/token", data=self.form(**changes)))

    def audit_records(self) -> list[dict[str, Any]]:
        """Return the records of the audit log so far."""
        return whole_records(self.audit_path) if self.audit_path.exists() else []

    @contextmanager
    def serving(self) -> Iterator[StsProcess]:
        """Run the service in threads of this process."""
        source = ConfigSource(self.config_path)
        with ExitStack() as opened:
            with pytest.MonkeyPatch.context() as patched:  # nobody else writes our files
                patched.setattr("authz.adapters.files.STABLE_SECONDS", 0.0)
                patched.setattr("authz.adapters.tls.STABLE_SECONDS", 0.0)
                service = open_token_service(source.read_config(), source)
                process = opened.enter_context(service)
            process.start()
            thread = threading.Thread(target=process.serve, daemon=True)
            thread.start()
            try:
                wait_until(lambda: process.readiness()[0])
                self.url = f"https://localhost:{process.address.rpartition(':')[2]}"
                yield process
            finally:
                canary.note("metrics", generate_latest(process.metrics.registry))
                process.stop()
                thread.join(PATIENCE_SECONDS)
        if self.audit_path.exists():
            require_valid_file(self.audit_path)

    def __enter__(self) -> Self:
        """Return this world."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the issuer."""
        self._opened.close()


class TokenServiceProcess(AbstractContextManager["TokenServiceProcess"]):
    """`authz sts` as a process of its own.

    Attributes:
        process: the process.
        admin: its admin address.
    """

    def __init__(self, world: TokenServiceWorld) -> None:
        """Start it, and wait until it issues tokens."""
        self._world = world
        self.process = Process(
            "sts",
            [sys.executable, "-m", "authz", "sts", str(world.config_path)],
            world.folder / "sts.log",
        )
        self.process.wait_until(lambda: bool(logged(self.process.log, "listen")))
        address = logged(self.process.log, "listen")[-1]
        world.url = f"https://localhost:{address.rpartition(':')[2]}"
        self.admin = logged(self.process.log, "admin")[-1]

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self.process.stop()


def noted(response: httpx.Response) -> httpx.Response:
    """Make an issued token a canary, and everything else of an answer an output."""
    if response.status_code == httpx.codes.OK:
        MADE.append(response.json()["access_token"])
        members: Mapping[str, Any] = {
            name: value for name, value in response.json().items() if name != "access_token"
        }
        canary.note("token answer", json.dumps(members).encode())
    else:
        canary.note("token refusal", response.content)
    return response
