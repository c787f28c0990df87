"""OAuth clients that others wrote get tokens from the token service, also for others' tokens."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from authlib.integrations.httpx_client import OAuth2Client
from oauthlib.oauth2 import BackendApplicationClient, InvalidScopeError

from lab.config_builder import LAB
from lab.issuer import MADE
from lab.mesh import AUDIENCE, ORCHESTRATOR, TRAVEL
from support.opaque_issuer import PACKAGES, OpaqueIssuer, need_node
from support.sts_server import (
    ACCESS_TOKEN,
    EXCHANGE,
    FORM,
    STS,
    TokenServiceWorld,
)
from support.world import PATIENCE_SECONDS

ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenServiceWorld]:
    """A token service that runs."""
    with TokenServiceWorld(tmp_path_factory.mktemp("sts")) as made, made.serving():
        yield made


def _claims(world: TokenServiceWorld, token: str) -> dict[str, Any]:
    """Return the claims of a token as any resource server verifies it, by the published keys."""
    MADE.append(token)
    with world.client(None) as anybody:
        keys = jwt.PyJWKSet.from_dict(anybody.get("/jwks.json").json())
    header = jwt.get_unverified_header(token)
    assert header["typ"] == "at+jwt"
    key = keys[header["kid"]]
    claims: dict[str, Any] = jwt.decode(
        token, key, algorithms=["ES256"], audience=AUDIENCE, issuer=STS
    )
    return claims


def _names_both(claims: Mapping[str, Any], agent: str = ORCHESTRATOR) -> None:
    assert (claims["sub"], claims["act"]["sub"]) == ("alice", agent)
    assert claims["client_id"] == agent
    assert claims["scope"] == "balance:read"
    assert "x5t#S256" in claims["cnf"]


def test_authlib_gets_a_token(world: TokenServiceWorld) -> None:
    """Authlib's client, with its own parsing of the answer."""
    with OAuth2Client(
        client_id=ORCHESTRATOR,
        token_endpoint=f"{world.url}/token",
        token_endpoint_auth_method="none",
        grant_type=EXCHANGE,
        verify=world.context(),
    ) as client:
        token = client.fetch_token(
            subject_token=world.subject(),
            subject_token_type=ACCESS_TOKEN,
            resource=AUDIENCE,
            scope="balance:read",
        )
    assert (token["token_type"], token["issued_token_type"]) == ("Bearer", ACCESS_TOKEN)
    assert not token.is_expired()
    _names_both(_claims(world, token["access_token"]))


def test_oauthlib_gets_a_token_and_reads_a_refusal(world: TokenServiceWorld) -> None:
    """Oauthlib makes the form, and reads answers and errors."""
    client = BackendApplicationClient(ORCHESTRATOR)
    client.grant_type = EXCHANGE

    def asked(scope: str) -> str:
        body = client.prepare_request_body(
            scope=scope,
            subject_token=world.subject(),
            subject_token_type=ACCESS_TOKEN,
            resource=AUDIENCE,
        )
        with world.client() as http:
            return http.post("/token", content=body, headers={"content-type": FORM}).text

    token = client.parse_request_body_response(asked("balance:read"))
    _names_both(_claims(world, token["access_token"]))
    with pytest.raises(InvalidScopeError):
        client.parse_request_body_response(asked("payments:write"))


def _by_node(world: TokenServiceWorld, folder: Path, parameters: Mapping[str, str]) -> Any:
    svid = world.authority.issue(ORCHESTRATOR)
    settings = {
        "packages": str(PACKAGES),
        "issuer": STS,
        "port": int(world.url.rpartition(":")[2]),
        "client": ORCHESTRATOR,
        "ca": str(world.authority.path),
        "certificate": str(svid.certificate_path),
        "key": str(svid.key_path),
        "parameters": dict(parameters),
    }
    file = folder / "token-settings.json"  # an input, with a token
    file.write_text(json.dumps(settings))
    script = Path(__file__).parents[1] / "support" / "openid_client.mjs"
    done = subprocess.run(
        ["node", str(script), str(file)],
        capture_output=True, text=True, check=False, timeout=4 * PATIENCE_SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_openid_client_gets_a_token(world: TokenServiceWorld, tmp_path: Path) -> None:
    """The client of Node that is certified for OpenID: discovery by RFC 8414, then a token."""
    need_node("openid-client")
    form = {
        "subject_token": world.subject(),
        "subject_token_type": ACCESS_TOKEN,
        "resource": AUDIENCE,
    }
    answer = _by_node(world, tmp_path, form)
    _names_both(_claims(world, answer["access_token"]))
    refused = _by_node(world, tmp_path, {**form, "resource": "https://other.example"})
    assert refused == {"refused": "invalid_target", "status": 400}


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpaqueIssuer]:
    """An OpenID provider that others wrote."""
    with OpaqueIssuer(tmp_path_factory.mktemp("op")) as made:
        yield made


def test_a_login_becomes_a_delegation(provider: OpaqueIssuer, tmp_path: Path) -> None:
    """Alice logs in at oidc-provider; her ID token gets the agent a token that names both."""
    changes = provider.config(
        keys={"jwks_uri": f"{provider.url}/jwks", "insecure": True}, algorithms=["RS256"]
    ).with_items(("issuers", 0, "audiences"), "[https://hub.corp.example]")
    with TokenServiceWorld(tmp_path, changes, issuer=provider.url) as world:
        world.write_config(
            LAB.with_(
                ("sts", "id_tokens"), [{"issuer": provider.url, "client_ids": ["travel"]}]
            ).with_items(
                ("sts", "rules"),
                f"""
                - name: login
                  agents: ["{TRAVEL}"]
                  subject_audiences: [travel]
                  audiences: ["{AUDIENCE}"]
                  scopes: ["balance:read"]
                """,
            )
        )
        login = provider.user_tokens("alice", "travel")
        MADE.append(login["id_token"])
        with world.serving(), world.client(TRAVEL) as agent, world.client() as other:
            asked = {"subject_token": login["id_token"], "subject_token_type": ID_TOKEN}
            answer = agent.post("/token", data=world.form(**asked))
            assert answer.status_code == 200, answer.text
            _names_both(_claims(world, answer.json()["access_token"]), TRAVEL)
            # As an access token it is refused, and so it is to another agent than its client.
            wrong = world.form(subject_token=login["id_token"])
            for client, form in ((agent, wrong), (other, world.form(**asked))):
                _is_refused(client.post("/token", data=form))


def _is_refused(answer: httpx.Response) -> None:
    assert answer.status_code == 400
    assert answer.json()["error"] in {"invalid_request", "invalid_target"}
