"""What people complain of at authorization servers on the first day, tried here.

Each test is a complaint that stands in public issue trackers of the field, and what is told here in
its place: where, the cause, and the cure.
"""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from authz.config import ConfigError, ConfigFiles, load
from lab.ca import Authority
from lab.config_builder import AT_ISSUER, AT_READ_RULE, LAB, ConfigBuilder
from lab.issuer import Issuer, JwksServer
from lab.mesh import AUDIENCE, ISSUER, TRAVEL
from support.verbs import URL, edit, run, write_config

KEYS = (*AT_ISSUER, "keys")
Told = Callable[..., str]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The lab's config."""
    return write_config(tmp_path)


@pytest.fixture
def told(path: Path, capfd: pytest.CaptureFixture[str]) -> Told:
    """Change the config, run a verb, and return what it printed."""

    def run_verb(changes: ConfigBuilder, *arguments: str, status: int = 1) -> str:
        edit(path, changes)
        verb, *rest = arguments
        assert run(verb, str(path), *rest) == status
        printed = capfd.readouterr()
        return printed.out + printed.err

    return run_verb


@pytest.fixture
def issuer() -> Iterator[tuple[Issuer, JwksServer]]:
    """An issuer, and the server of its keys."""
    made = Issuer(ISSUER, AUDIENCE)
    server = JwksServer(made)
    yield made, server
    server.close()


CONFIG: dict[str, tuple[ConfigBuilder, str, str]] = {
    "HMAC with the public key as its secret": (
        LAB.with_((*AT_ISSUER, "algorithms"), ["HS256"]),
        "HS256 is never accepted: HMAC verifies with the secret that signs",
        "such as ES256 or RS256",
    ),
    "tokens without a signature": (
        LAB.with_((*AT_ISSUER, "algorithms"), ["none"]),
        "anybody could make a token without a signature",
        "such as ES256 or RS256",
    ),
    "a regular expression matches nothing, in silence": (
        LAB.with_((*AT_READ_RULE, "paths"), ["^/finance/.*$"]),
        "a path is a glob and not a regular expression",
        "write /finance/**",
    ),
    "a path outside of the normal form goes around a rule": (
        LAB.with_((*AT_READ_RULE, "paths"), ["/finance/../admin"]),
        "no request has such a path",
        "dot segment",
    ),
    "a URL as a host matches nothing, in silence": (
        LAB.with_((*AT_READ_RULE, "hosts"), ["https://mcp.corp.example"]),
        "a host stands alone",
        "write mcp.corp.example",
    ),
    "an empty list: does it mean all or none": (
        LAB.with_(("agents", 0, "grants"), []),
        "must not be empty",
        "name a grant",
    ),
    "a wildcard audience": (
        LAB.with_((*AT_ISSUER, "audiences"), ["*"]),
        "a token for anybody is never accepted",
        "list what tokens for your services have in aud",
    ),
    "variables of the environment are not expanded": (
        LAB.with_(KEYS, {"jwks_uri": "${AS_URL}/jwks"}),
        "nothing expands ${ }",
        "write the value itself",
    ),
    "keys over plain http": (
        LAB.with_(KEYS, {"jwks_uri": "http://as.corp.example/jwks"}),
        "anyone on the network path can sign tokens",
        "use https",
    ),
    "a key in the config, and then in a log": (
        LAB.with_(
            KEYS, {"jwks_uri": "https://a.example", "ca_file": "-----BEGIN PRIVATE KEY-----"}
        ),
        "must be the path of a file",
        "write the text into a file",
    ),
    "a token in the place of its file": (
        LAB.with_(
            KEYS, {"jwks_uri": "https://a.example", "ca_file": "eyJhbGciOiJFUzI1NiJ9.e30.c2"}
        ),
        "must be the path of a file",
        "write the text into a file",
    ),
    "the issuer's trailing slash": (
        LAB.with_(("principals", 0, "match", "issuer"), f"{ISSUER}/"),
        "compared byte for byte",
        f"did you mean {ISSUER}?",
    ),
    "a SPIFFE ID with a port": (
        LAB.with_(("agents", 0, "id"), TRAVEL.replace("example/", "example:8443/")),
        "a trust domain has only a-z",
        f"write {TRAVEL}",
    ),
}


@pytest.mark.parametrize("complaint", CONFIG)
def test_a_config(told: Told, path: Path, complaint: str) -> None:
    """What a config can't mean is an error with its line, at the check, and not at a request."""
    changes, cause, cure = CONFIG[complaint]
    lines = [line for line in told(changes, "check").splitlines() if cause in line]

    assert len(lines) == 1
    assert lines[0].removeprefix(f"{path}:").partition(":")[0].isdecimal()
    assert cure in lines[0]
    assert "BEGIN" not in lines[0]


def files_of(authority: Authority, **changes: str) -> ConfigBuilder:
    """Serve on a port with these files of TLS."""
    own = authority.issue("spiffe://corp.example/authz")
    files: dict[str, Any] = {
        "certificate": str(own.certificate_path),
        "private_key": str(own.key_path),
        "client_ca": str(authority.path),
        "allowed_callers": ["spiffe://corp.example/gateway"],
    }
    return LAB.with_(("server", "tls"), files | changes)


def test_tls_files_that_do_not_fit(told: Told, tmp_path: Path) -> None:
    """Not "bad handshake" later: the file that is wrong is named with its line, and how."""
    authority = Authority(tmp_path)
    key = str(authority.issue("spiffe://corp.example/other").key_path)

    swapped = told(files_of(authority, certificate=key), "check")
    assert "server.tls.certificate: " in swapped
    assert "holds a private key" in swapped
    other = told(LAB.with_(("server", "tls", "certificate"), str(authority.path)), "check")
    assert "server.tls.private_key: " in other
    assert "does not belong to the certificate" in other


def test_an_agent_that_gives_no_identity(told: Told, tmp_path: Path) -> None:
    """Not "UNAVAILABLE": the socket is named, and what to look at."""
    changes = LAB.with_(
        KEYS,
        {"spiffe_bundle": {"trust_domain": "corp.example", "workload_api": f"unix:{tmp_path}/no"}},
    )
    said = told(changes, "keys")

    assert f"there is no socket {tmp_path}/no" in said
    assert "is the agent running, and the socket mounted here?" in said


def test_keys_that_are_not_there(told: Told, issuer: tuple[Issuer, JwksServer]) -> None:
    """Not "401" at each request: the issuer, the URL and the status are told before."""
    url = f"{issuer[1].url}/wrong"
    said = told(LAB.with_((*KEYS, "jwks_uri"), url), "keys")

    assert f"{ISSUER}  ({url})" in said
    assert "status 404: nothing is there: is it the right URL?" in said


def test_a_port_in_use(told: Told) -> None:
    """No traceback: one line, and a status of its own."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        said = told(LAB.with_(("server", "listen"), address), "serve", status=3)

    assert f"can't listen on {address}: is it in use?" in said


TOKENS: dict[str, tuple[dict[str, Any], str, str]] = {
    "for another audience": (
        {"aud": "https://x.example"},
        "token_audience: its aud",
        "audiences: [",
    ),
    "an ID token": ({"header": {"typ": "JWT"}, "nonce": "n"}, "token_typ", "send the access token"),
    "no act": ({"act": None}, "actor_missing: it has no act claim", "actor: {claim: client_id"),
    "expired": ({"exp": 1, "iat": 0}, "token_expired: its exp has passed", "get a new token"),
    "of an unknown key": ({"header": {"kid": "x"}}, "has no such key", "see authz keys"),
}


@pytest.mark.parametrize("kind", TOKENS)
def test_a_refused_token(
    tmp_path: Path,
    path: Path,
    capsys: pytest.CaptureFixture[str],
    issuer: tuple[Issuer, JwksServer],
    kind: str,
) -> None:
    """Not "401" alone: authz token check says which check refused it, and what would take it."""
    changes, cause, cure = TOKENS[kind]
    keys = tmp_path / "jwks.json"
    keys.write_bytes(issuer[0].jwks())
    edit(path, LAB.with_(KEYS, {"file": str(keys)}))
    (tmp_path / "token").write_text(issuer[0].token(TRAVEL, scope="a", **changes))
    assert run("token", "check", str(path), str(tmp_path / "token")) == 1

    said = capsys.readouterr().out
    assert f"{path}:" in said
    assert cause in said
    assert cure in said


def test_why_a_request_is_denied(told: Told) -> None:
    """Not "403" alone: each rule that came near, and what it lacks."""
    said = told(LAB, "explain", "POST", URL, "--agent", TRAVEL, "--principal", "alice")

    assert "the method POST is not one of GET" in said
    assert "nearest miss: finance-read/0" in said


def test_a_reload_of_half_a_file(path: Path) -> None:
    """A bad config names its line, and the files are looked at again: what is in use stays."""
    good = path.read_text()
    files = ConfigFiles(path)
    load(files)
    path.write_text(good[: len(good) // 2] + "\n\tx: [")
    with pytest.raises(ConfigError) as caught:
        load(files)
    assert caught.value.problems[0].line > 1
    path.write_text(good)

    assert load(files).issuers
