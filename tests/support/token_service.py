<<<<<<< HEAD
"""A token service with real keys and a config, and an issuer, to ask it in one line."""

import time
from collections.abc import Iterable, Mapping
from itertools import count
from typing import Any

from authz.config import Config, load_text
from authz.core.decision import Agent
from authz.core.delegation.dpop import DpopVerifier, FixedSecret
from authz.core.jose.jwk import parse_key_set
from authz.core.jose.key_set import KeySet
from authz.core.policy.policy import Policy
from authz.core.revocation_table import Revocations
from authz.core.revocations import Revocation
from authz.core.spiffe import SpiffeId
from authz.core.sts.consent import ConsentCheck, NoConsents
from authz.core.sts.errors import TokenRequestDenied
from authz.core.sts.outcome import Issue, Outcome, Refuse, TokenFacts
from authz.core.sts.request import GRANT_TYPE, TokenType, read_request
from authz.core.sts.service import TokenService, refusal
from lab.issuer import Issuer, sign_json

IDP = "https://idp.corp.example"
PARTNER = "https://idp.partner.example"
STS = "https://sts.corp.example"
ORCHESTRATOR = "spiffe://corp.example/ns/agents/sa/orchestrator"
TRAVEL = "spiffe://corp.example/ns/agents/sa/travel"
HOTEL = "spiffe://corp.example/ns/agents/sa/hotel"
STRANGER = "spiffe://corp.example/ns/agents/sa/stranger"
AT_TRAVEL = "https://travel.corp.example"
AT_HOTEL = "https://hotel.corp.example"
AT_ORDERS = "https://orders.corp.example"
WEBAPP = "webapp"
ACCESS, JWT, ID = TokenType.ACCESS_TOKEN, TokenType.JWT, TokenType.ID_TOKEN

_ANY = 'hosts: ["*"], methods: ["*"], paths: ["/**"]'
CONFIG = f"""
server: {{listen: unix:/run/authz/authz.sock}}
trust_domains: [corp.example]
issuers:
  - issuer: {IDP}
    keys: {{jwks_uri: {IDP}/jwks}}
    audiences: [{AT_ORDERS}]
    typ: [at+jwt, JWT]
  - issuer: {STS}
    keys: {{jwks_uri: {STS}/jwks.json}}
    audiences: [{AT_TRAVEL}, {AT_HOTEL}, {AT_ORDERS}]
agents:
  - id: {ORCHESTRATOR}
    grants: [orchestrate]
  - id: {TRAVEL}
    grants: [travel]
  - id: {HOTEL}
    grants: [book]
principals:
  - match: {{issuer: {IDP}}}
    grants: [everything]
  - match: {{issuer: {STS}}}
    grants: [everything]
grants:
  orchestrate:
    - {{{_ANY}, scopes: [trips:plan, trips:book, hotels:book]}}
    - {{effect: deny, hosts: [bank.corp.example], methods: ["*"], paths: ["/**"]}}
  travel:
    - {{{_ANY}, scopes: [trips:plan]}}
    - {{{_ANY}, scopes: [hotels:book]}}
    - {{shadow: true, {_ANY}, scopes: [trips:book]}}
  book:
    - {{{_ANY}, scopes: [hotels:book]}}
  everything:
    - {{{_ANY}, scopes: []}}
sts:
  issuer: {STS}
  make: /var/lib/authz/sts.pem
  tls: {{certificate: sts.pem, private_key: sts.key, client_ca: ca.pem}}
  id_tokens: [{{issuer: {IDP}, client_ids: [{WEBAPP}]}}]
  rules:
    - name: first
      agents: [{ORCHESTRATOR}]
      subject_audiences: [{WEBAPP}]
      audiences: [{AT_TRAVEL}, {STS}]
      scopes: [trips:plan, trips:book, hotels:book]
    - name: second
      agents: [{TRAVEL}]
      subject_audiences: [{AT_TRAVEL}]
      via: [{ORCHESTRATOR}]
      audiences: [{AT_HOTEL}]
      scopes: [trips:plan, trips:book, hotels:book]
    - name: third
      agents: [{HOTEL}]
      subject_audiences: [{AT_HOTEL}]
      via: [{TRAVEL}]
      audiences: [{AT_ORDERS}]
      scopes: [hotels:book]
      lifetime: 1m
"""

_NO_CONSENTS = NoConsents()


def tenants(ours: str, theirs: str) -> str:
    """Return the config with a second issuer; the users of each get its prefix."""
    other = f"""  - issuer: {PARTNER}
    keys: {{jwks_uri: {PARTNER}/jwks}}
    audiences: [{AT_ORDERS}]
"""
    entry = f"""  - match: {{issuer: {PARTNER}}}
    grants: [everything]
"""
    subjects = f"""  subjects:
    - {{issuer: {IDP}, prefix: "{ours}", claims: [groups]}}
    - {{issuer: {PARTNER}, prefix: "{theirs}"}}
"""
    config = CONFIG.replace("agents:\n", other + "agents:\n", 1)
    config = config.replace("principals:\n", "principals:\n" + entry, 1)
    return config.replace("  id_tokens:", subjects + "  id_tokens:", 1)


def client(spiffe_id: str, thumbprint: str = "", expires_at: float = float("inf")) -> Agent:
    """Return an agent with a certificate of its own."""
    own = spiffe_id.rpartition("/")[2]
    return Agent(SpiffeId.parse(spiffe_id), thumbprint or f"thumbprint-of-{own}", expires_at)


class Keys:
    """The keys of issuers, as they are now."""

    def __init__(self, issuers: Iterable[Issuer], now: float) -> None:
        """Publish the keys of these issuers."""
        self._sets = {}
        for issuer in issuers:
            keys, refused = parse_key_set(issuer.jwks(), frozenset({"ES256"}), "sig")
            self._sets[issuer.url] = KeySet(keys, refused, now, now + 1e6)

    def get(self, issuer: str) -> KeySet | None:
        """Return an issuer's keys."""
        return self._sets.get(issuer)


class Service:
    """The token service of a config, with the issuers that it names; all times are ``now``."""

    def __init__(
        self,
        config: str = CONFIG,
        *,
        consents: ConsentCheck = _NO_CONSENTS,
        revoked: Iterable[Revocation] = (),
    ) -> None:
        """Begin with new keys."""
        self.now = float(int(time.time()))
        self.idp = Issuer(IDP, STS)
        self.partner = Issuer(PARTNER, STS)
        self.own = Issuer(STS, AT_TRAVEL)
        self.keys = Keys((self.idp, self.partner, self.own), self.now)
        self.config = load_text(config.encode(), "authz.yaml")
        self.proofs = DpopVerifier(self.config.token.dpop, FixedSecret(b"s" * 32))
        self.core = self._service(self.config, consents, Revocations(revoked))
        self._numbers = count()

    def _service(
        self, config: Config, consents: ConsentCheck, revocations: Revocations
    ) -> TokenService:
        assert config.sts is not None
        policy = Policy(
            config.agents,
            config.principals,
            config.grants,
            config.earlier_actors,
            config.conditions,
        )
        return TokenService(
            config.sts,
            config.token,
            config.issuers,
            policy,
            keys=self.keys,
            revocations=revocations,
            proofs=self.proofs,
            consents=consents,
        )

    def token(
        self, subject: str = "alice", scope: str = "trips:plan hotels:book", **changes: Any
    ) -> str:
        """Return an access token of the identity provider for the token service; no agent acts."""
        given = {"act": None, "iat": int(self.now), "exp": int(self.now) + 600, **changes}
        return self.idp.token("", subject, scope, **given)

    def id_token(self, *, header: Mapping[str, Any] | None = None, **changes: Any) -> str:
        """Return an ID token of the identity provider for the web app."""
        claims = {
            "iss": IDP,
            "sub": "alice",
            "aud": WEBAPP,
            "iat": int(self.now),
            "exp": int(self.now) + 300,
            "nonce": "n-0S6_WzA2Mj",
            "auth_time": int(self.now) - 5,
        } | changes
        key = self.idp.current
        members = {"alg": key.algorithm, "kid": key.key_id, "typ": "JWT", **(header or {})}
        parts = (members, claims)
        kept = [
            {name: value for name, value in part.items() if value is not None} for part in parts
        ]
        return sign_json(key, *kept)

    def sign(self, issue: Issue) -> str:
        """Sign what the service issues, as its server does."""
        key = self.own.current
        header = {"alg": key.algorithm, "kid": key.key_id, "typ": "at+jwt"}
        return sign_json(key, header, issue.claims)

    def ask(
        self,
        agent: Agent | str,
        token: str,
        kind: TokenType = ACCESS,
        *,
        more: Iterable[tuple[str, str]] = (),
        proof: str | None = None,
        now: float | None = None,
        **parameters: str,
    ) -> Outcome:
        """Ask for a token by a form: ``parameters`` change it, and "" leaves one out."""
        who = client(agent) if isinstance(agent, str) else agent
        form = {
            "grant_type": GRANT_TYPE,
            "subject_token": token,
            "subject_token_type": kind.value,
            **parameters,
        }
        listed = [(name, value) for name, value in form.items() if value] + list(more)
        try:
            request = read_request(listed, proof)
        except TokenRequestDenied as denied:
            return refusal(denied, TokenFacts(who))
        moment = self.now if now is None else now
        return self.core.decide(who, request, f"jti-{next(self._numbers)}", moment)

    def issue(self, agent: Agent | str, token: str, kind: TokenType = ACCESS, **rest: Any) -> Issue:
        """Ask for a token, which must be issued."""
        outcome = self.ask(agent, token, kind, **rest)
        assert isinstance(outcome, Issue), (outcome.error, outcome.reason, outcome.detail)
        return outcome

    def refuse(
        self, agent: Agent | str, token: str, kind: TokenType = ACCESS, **rest: Any
    ) -> Refuse:
        """Ask for a token, which must be refused."""
        outcome = self.ask(agent, token, kind, **rest)
        assert isinstance(outcome, Refuse), outcome.claims
        return outcome

    def chain(self) -> tuple[str, str]:
        """Return the orchestrator's token for the travel agent, and that agent's for hotels."""
        first = self.sign(self.issue(ORCHESTRATOR, self.token(), audience=AT_TRAVEL))
        return first, self.sign(self.issue(TRAVEL, first, audience=AT_HOTEL))
=======
"""The token service in this process or in one of its own: real TLS, certificates, keys and config."""

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
        with open_token_service(source.read_config(), source) as process:
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


class TokenServiceProcess:
    """`authz sts` as a process of its own."""

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
>>>>>>> stshttp21
