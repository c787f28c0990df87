"""A mesh with two issuers: a token service of ours, and a partner that exchanges its tokens.

The partner's API, behind the same Envoy, gets a token of the partner's in place of ours.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from lab import mesh as lab
from lab.client import Reply
from lab.config_builder import LAB, ConfigBuilder
from lab.demo_sts import Hops
from lab.dpop import thumbprint
from lab.issuer import Issuer, JwksServer, SigningKey
from lab.live_files import whole_records
from lab.mesh import Mesh
from lab.sts import ISSUER
from support.audit_schema import require_valid_file
from support.canary import canary
from support.exchange_issuer import CLIENT, SECRET, ExchangeIssuer
from support.world import wait_until

PARTNER: Final = "https://as.partner.example"
API: Final = "https://mcp.corp.example/partner"  # as agents call it
UPSTREAM: Final = "https://api.partner.example"  # as the partner does
ORDERS: Final = "/partner/orders"
HONEST: Final = {"cnf": None}  # the key in our token is an agent's, who does not call the partner
_ISSUER: Final = """\
- issuer: {issuer}
  keys: {{jwks_uri: "{jwks}", insecure: true, cooldown: 1s}}
  audiences: [{api}]
  exchange:
    url: "{url}"
    insecure: true
    client_id: {client}
    client_secret_file: "{secret}"
    subjects_from: [{sts}]
    actor: required
    timeout: 10s
"""
_ROUTE: Final = """\
- name: partner
  paths: [/partner/**]
  resource: {api}
  upstream_token: exchange
  exchange: {{issuer: {issuer}, audience: "{upstream}", scopes: ["balance:read"]}}
"""
_RULE: Final = """\
- hosts: [mcp.corp.example]
  methods: [GET]
  paths: [/partner/**]
  scopes: ["balance:read"]
"""


@dataclass(frozen=True)
class TwoIssuers:
    """The running mesh, and the partner's token endpoint."""

    mesh: Mesh
    own: Issuer
    endpoint: ExchangeIssuer

    def hops(self) -> Hops:
        """Return agents with a login, and the tokens of the first two hops."""
        hops = Hops(self.mesh)
        assert hops.exchange(lab.ORCHESTRATOR, "login", "first").status == 200
        form = {"scope": "balance:read", "audience": API}
        assert hops.exchange(lab.TRAVEL, "first", "partner", **form).status == 200
        return hops

    def record(self, reply: Reply) -> dict[str, Any]:
        """Return the server's audit record of a refusal through Envoy, once it is written."""
        named = reply.body.decode().rpartition("decision: ")[2].strip()
        audit = self.mesh.servers[0].audit

        def found() -> list[dict[str, Any]]:
            return [one for one in whole_records(audit) if one.get("decision_id") == named]

        wait_until(found)
        return found()[0]

    def require_quiet(self) -> None:
        """Look for tokens in what both processes tell, and hold their records to the schema."""
        server = self.mesh.servers[0]
        for metrics in (self.mesh.sts.metrics(), server.get("/metrics")[1]):
            canary.note("/metrics", metrics.encode())
        for audit in (self.mesh.sts.audit, server.audit):
            require_valid_file(audit)

    def asked_about(self, token: str) -> bool:
        """Tell whether the partner was asked to exchange this token."""
        return any(form["subject_token"] == token for form in self.endpoint.forms)


def _changes(folder: Path, jwks: JwksServer, endpoint: ExchangeIssuer) -> ConfigBuilder:
    secret = folder / "partner.secret"
    secret.write_text(SECRET)
    names = {
        "issuer": PARTNER,
        "jwks": f"{jwks.url}/jwks",
        "api": API,
        "url": endpoint.url,
        "client": CLIENT,
        "secret": secret,
        "sts": ISSUER,
        "upstream": UPSTREAM,
    }
    grants = "[partner]"
    return (
        LAB.with_items(("issuers",), _ISSUER.format_map(names), before=2)
        .with_items(("issuers", ISSUER, "audiences"), f"[{API}]")
        .with_routes(_ROUTE.format_map(names))
        .with_grant("partner", _RULE)
        .with_items(("agents", lab.TRAVEL, "grants"), grants)
        .with_items(("principals", 1, "grants"), grants)
        .with_yaml(("sts", "subjects"), f"[{{issuer: {lab.ISSUER}}}]")
        .with_items(("sts", "rules", "hand-on", "audiences"), f"[{API}]")
    )


@contextmanager
def two_issuers(folder: Path) -> Iterator[TwoIssuers]:
    """Start all of it. The partner knows the keys of the token service, and publishes its own."""
    folder.mkdir(parents=True, exist_ok=True)
    own, known = Issuer(PARTNER, API), Issuer(PARTNER, API)
    known.current = own.current
    with closing(JwksServer(own)) as jwks, ExchangeIssuer(known) as endpoint:
        changes = _changes(folder, jwks, endpoint)
        with Mesh(folder, with_mcp=True, with_sts=True, check_timeout="20s", changes=changes) as up:
            key = _key_of(up.sts.key)
            known.keys = {**own.keys, key.key_id: key}
            yield TwoIssuers(up, own, endpoint)


def _key_of(file: Path) -> SigningKey:
    private = load_pem_private_key(file.read_bytes(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    jwk = SigningKey("", "ES256", private).jwk()
    members = {name: jwk[name] for name in ("crv", "kty", "x", "y")}
    return SigningKey(thumbprint(members), "ES256", private)
