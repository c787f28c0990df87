"""A Keycloak and our token service as two issuers of one server, behind an Envoy of its own."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from lab.ca import Svid
from lab.client import Client, Reply
from lab.keycloak import Realm
from lab.live_files import whole_records
from lab.mesh import AUDIENCE, TRAVEL, Mesh, config_text
from lab.sts import ACCESS_TOKEN, ID_TOKEN, ISSUER, TokenService, ask, token_of
from support.issued import refused
from support.keycloak_exchange import exchanging
from support.keycloak_howto import AGENT, FRONT_END, USER, Howto, Proxy, changes_of, serve
from support.world import wait_until

GATEWAY: Final = "two-issuers-gateway"  # our client at Keycloak
UPSTREAM: Final = "two-issuers-orders"  # the client of the upstream
_OURS: Final = """\
issuer: {issuer}
keys: {{jwks_uri: "https://localhost:{port}/jwks.json", ca_file: "{ca}", cooldown: 1s}}
audiences: [{audience}]
proof: required
"""
_STS: Final = """\
issuer: {issuer}
listen: 127.0.0.1:0
admin: {{listen: 127.0.0.1:0}}
tls: {{certificate: "{certificate}", private_key: "{key}", client_ca: "{ca}"}}
make: "{make}"
id_tokens: [{{issuer: "{keycloak}", client_ids: [{front_end}]}}]
rules:
  - name: begin
    agents: [{travel}]
    subject_audiences: [{front_end}, {agent}]
    audiences: [{audience}]
    scopes: ["balance:read"]
"""


@dataclass(frozen=True)
class TwoIssuers:
    """The realm, our token service and the proxy, and the agent with one SVID at both."""

    realm: Realm
    sts: TokenService
    proxy: Proxy
    svid: Svid

    @property
    def travel(self) -> Client:
        """The agent's client for Envoy."""
        mesh = self.proxy.mesh
        return Client(self.proxy.envoy.port, mesh.authority.path, self.svid)

    def ask(self, token: str, kind: str = ACCESS_TOKEN, **form: str) -> Reply:
        """Have the agent ask our token service."""
        return ask(self.sts.client(self.svid), token, kind, **form)

    def login(self) -> dict[str, Any]:
        """Let the user log in at the front end."""
        return self.realm.by_login(FRONT_END, USER)

    def ours(self) -> str:
        """Return our token for a new login."""
        return token_of(self.ask(self.login()["id_token"], ID_TOKEN))

    def refusal(self, token: str, kind: str = ACCESS_TOKEN, **form: str) -> tuple[str, str]:
        """Return the error by which the token service refuses a token, and its record's reason."""
        error = self.ask(token, kind, **form).reason
        return error, refused(self.sts, token)["reason"]

    def detail(self, reply: Reply) -> str:
        """Return what the server's record says of a refusal, once it is written."""
        named = reply.body.decode().rpartition("decision: ")[2].strip()

        def found() -> list[dict[str, Any]]:
            records = whole_records(self.proxy.server.audit)
            return [one for one in records if one.get("decision_id") == named]

        wait_until(found)
        return str(found()[0]["detail"])


@contextmanager
def two_issuers(mesh: Mesh, howto: Howto, realm: Realm, folder: Path) -> Iterator[TwoIssuers]:
    """Start our token service, and a server that takes the tokens of both."""
    with ExitStack() as stack:
        stack.enter_context(exchanging(realm, GATEWAY, UPSTREAM))
        secret = folder / "token-secret"
        secret.write_text(str(realm.client(GATEWAY)["secret"]))
        sts = TokenService(folder, mesh.authority)
        text = config_text(sts.files, "")
        sts.start(changes_of(_config(howto, realm, sts, secret)).edit(text))
        stack.callback(sts.process.stop)
        sts.wait_ready()
        proxy = serve(mesh, "two-issuers", _config(howto, realm, sts, secret), "20s")
        stack.callback(proxy.envoy.stop)
        yield TwoIssuers(realm, sts, proxy, mesh.authority.issue(TRAVEL))


def _config(howto: Howto, realm: Realm, sts: TokenService, secret: Path) -> dict[str, Any]:
    """The config, which the server and the token service have in common."""
    config = howto.config()
    [keycloak] = config["issuers"]
    keycloak |= {
        "clock_skew": "0s",
        "exchange": {
            "url": f"{realm.issuer}/protocol/openid-connect/token",
            "insecure": True,
            "client_id": GATEWAY,
            "client_secret_file": str(secret),
            "accept_scopes": ["profile"],
            "timeout": "10s",
        },
    }
    names = {
        **sts.names(),
        "keycloak": realm.issuer,
        "front_end": FRONT_END,
        "agent": AGENT,
        "travel": TRAVEL,
        "audience": AUDIENCE,
    }
    config["sts"] = yaml.safe_load(_STS.format_map(names))
    config["issuers"].append(yaml.safe_load(_OURS.format_map(names)))
    config["principals"].append({"match": {"issuer": ISSUER}, "grants": ["balance"]})
    config["grants"]["balance"][0]["paths"].append("/orders/**")
    config["routes"].append(
        {
            "name": "orders",
            "paths": ["/orders/**"],
            "resource": AUDIENCE,
            "upstream_token": "exchange",
            "exchange": {"issuer": realm.issuer, "audience": UPSTREAM},
        }
    )
    return config
