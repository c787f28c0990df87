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

    @property
    def times(self) -> dict[str, int]:
        """Return the times of a subject token: those of this service, and not of the clock."""
        return {"iat": int(self.now), "exp": int(self.now) + 600}

    def token(
        self, subject: str = "alice", scope: str = "trips:plan hotels:book", **changes: Any
    ) -> str:
        """Return an access token of the identity provider for the token service; no agent acts."""
        given = {"act": None, **self.times, **changes}
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
