"""The how-to for verifying assertions: each of its verifiers, with a real server's keys."""

import re
import subprocess
import textwrap
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import pytest
import yaml

from authz.adapters.signing.private_key import parse_signing_key
from lab.ca import Authority
from lab.config_builder import LAB
from lab.envoy import Envoy
from lab.issuer import Issuer, JwksServer
from lab.mesh import AUDIENCE, ISSUER, TRAVEL, Server
from support.go_tools import MISSING, go_tool
from support.signing import address_of_keys, assertion_of, pem
from support.world import READ

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/howto/verify-assertions.md").read_text()
GO = ROOT / "tests/support/data/verify_assertions/verify.go"
URL = "https://authz.corp.example/jwks.json"
OURS = "https://authz.corp.example"
TYP = "authz-assertion+jwt"


def blocks(language: str) -> list[str]:
    """Return the page's blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Assertions:
    """What a verifier gets.

    Attributes:
        keys_url: where the server publishes its keys.
        real: an assertion that the server signed for a request.
        bad: what must be refused, by what is wrong with it.
        of_ed25519: one of a key of the other kind, which the server publishes.
    """

    keys_url: str
    real: str
    bad: dict[str, str]
    of_ed25519: str


@pytest.fixture(scope="module")
def assertions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Assertions]:
    """A server's assertions, and forged ones."""
    folder = tmp_path_factory.mktemp("assertions")
    pems = {name: pem(is_ed25519=name == "ed") for name in ("current", "ed", "unknown", "other")}
    for name, data in pems.items():
        (folder / f"{name}.pem").write_bytes(data)
    issuer = Issuer(ISSUER, AUDIENCE)
    section = {
        "issuer": OURS,
        "keys": [
            {"file": str(folder / "current.pem")},
            {"file": str(folder / "ed.pem"), "signs_from": "2199-01-01T00:00:00Z"},
        ],
        "lifetime": "10m",  # a cold Go compiler takes a minute
        "listen": "127.0.0.1:0",
        "insecure": True,
    }
    changes = LAB.with_(("assertions",), section).with_(
        ("routes", "finance", "upstream_token"), "assert"
    )
    with ExitStack() as stack:
        jwks = stack.enter_context(closing(JwksServer(issuer)))
        server = Server(folder, "authz", f"{jwks.url}/jwks", changes=changes)
        stack.callback(server.process.stop)
        server.wait_ready()
        svid = Authority(folder / "pki").issue(TRAVEL)
        real = assertion_of(server.socket, svid, issuer.token(TRAVEL, scope=READ))
        keys_url = f"http://{address_of_keys(server.process.log)}/jwks.json"
        yield Assertions(keys_url, real, **_made(pems, real))


def _made(pems: dict[str, bytes], real: str) -> dict[str, Any]:
    keys = {name: parse_signing_key(data, name) for name, data in pems.items()}
    claims = jwt.decode(real, options={"verify_signature": False})
    now = int(time.time())
    long_ago = {**claims, "iat": now - 7200, "exp": now - 3600}
    head, _, signature = real.split(".")
    forged = jwt.encode(claims, pems["other"], "ES256", {"typ": TYP, "kid": keys["current"].kid})
    bad = {
        "forged": forged,
        "changed": f"{head}.{forged.split('.')[1][:-4]}AAAA.{signature}",
        "unsigned": jwt.encode(claims, "", "none", {"typ": TYP, "kid": keys["current"].kid}),
        "expired": keys["current"].sign(TYP, long_ago),
        "another audience": keys["current"].sign(TYP, {**claims, "aud": "https://other.example"}),
        "another issuer": keys["current"].sign(TYP, {**claims, "iss": "https://other.example"}),
        "an unpublished key": keys["unknown"].sign(TYP, claims),
        "another kind": keys["current"].sign("at+jwt", claims),
        "no end": keys["current"].sign(TYP, {k: v for k, v in claims.items() if k != "exp"}),
    }
    return {"bad": bad, "of_ed25519": keys["ed"].sign(TYP, claims)}


def test_python(assertions: Assertions) -> None:
    """The verifier in Python takes what the server signed, and nothing else."""
    (code,) = blocks("python")
    space: dict[str, Any] = {}
    exec(code.replace(URL, assertions.keys_url), space)
    verified: Callable[[str], dict[str, Any]] = space["verified"]
    assert verified(assertions.real)["sub"] == "alice"
    assert verified(assertions.of_ed25519)["sub"] == "alice"
    for assertion in assertions.bad.values():
        with pytest.raises(jwt.PyJWTError):
            verified(assertion)


@pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
@pytest.mark.timeout(400)  # a cold Go compiler takes a minute
def test_go(assertions: Assertions) -> None:
    """The verifier in Go, which is the page's, takes what the server signed, and nothing else."""
    assert blocks("go") == [GO.read_text()]
    program = go_tool("verify_assertions", ".")
    lines = [assertions.real, assertions.of_ed25519, *assertions.bad.values()]
    done = subprocess.run(
        [program, assertions.keys_url],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    answers = done.stdout.splitlines()
    assert answers[:2] == ["taken: alice"] * 2
    assert len(answers) == len(lines)
    assert all(answer.startswith("refused: ") for answer in answers[2:])


BOOTSTRAP = """\
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
static_resources:
  listeners:
    - name: upstream
      address: {socket_address: {address: 127.0.0.1, port_value: 0}}
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: upstream
                route_config:
                  virtual_hosts:
                    - name: all
                      domains: ["*"]
                      routes: [{match: {prefix: /}, direct_response: {status: 200}}]
"""  # noqa: E501 - a name of Envoy's
ROUTER = {
    "name": "envoy.filters.http.router",
    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
}


def bootstrap(keys_url: str) -> str:
    """Return a bootstrap with the page's filters and cluster, which asks the server of the test."""
    filters, clusters = (yaml.safe_load(text) for text in blocks("yaml")[1:3])
    (cluster,) = clusters["clusters"]
    del cluster["transport_socket"]  # the server of the test publishes on loopback
    (endpoint,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    host, _, port = keys_url.removeprefix("http://").partition("/")[0].rpartition(":")
    address = {"socket_address": {"address": host, "port_value": int(port)}}
    endpoint["endpoint"]["address"] = address
    made = yaml.safe_load(BOOTSTRAP)
    resources = made["static_resources"]
    manager = resources["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    manager["http_filters"] = [*filters["http_filters"], ROUTER]
    resources["clusters"] = [cluster]
    return yaml.safe_dump(made)


def status_of(url: str, assertion: str | None) -> int:
    """Return the status of a request with an assertion."""
    headers = {} if assertion is None else {"x-agent-assertion": assertion}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as r:
            return int(r.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.e2e
def test_envoy(assertions: Assertions, tmp_path: Path) -> None:
    """Envoy's filters of the page take what the server signed, and nothing else."""
    envoy = Envoy(tmp_path, bootstrap(assertions.keys_url))
    with ExitStack() as stack:
        stack.callback(envoy.stop)
        url = f"http://127.0.0.1:{envoy.wait_ready().port}/finance/balance"
        assert status_of(url, assertions.real) == 200
        assert status_of(url, assertions.of_ed25519) == 200
        assert status_of(url, None) == 401
        found = {what: status_of(url, bad) for what, bad in assertions.bad.items()}
        forbidden = {"another audience", "another kind"}  # the second filter looks at typ
        assert found == {what: 403 if what in forbidden else 401 for what in assertions.bad}


def test_the_examples_are_short() -> None:
    """The verifiers in code are about ten lines, without what surrounds them."""
    (code,) = blocks("python")
    assert len(textwrap.dedent(code).split("def verified")[1].splitlines()) <= 13
