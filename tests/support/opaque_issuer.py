"""A real authorization server of opaque tokens, in a process of its own: oidc-provider."""

import json
import os
import shutil
import ssl
from collections.abc import Mapping
from contextlib import AbstractContextManager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from lab.ca import Authority
from lab.config_builder import LAB, ConfigBuilder
from lab.dpop import DpopClient
from lab.issuer import MADE, SigningKey
from lab.live_files import whole_lines
from lab.mesh import AUDIENCE, PAYMENTS, TRAVEL
from lab.processes import Process
from support.jwks_server import ec_key

PACKAGES: Final = Path(__file__).parents[2] / ".node"
SECRET: Final = "a b+c/:%~"  # form-encoding matters (RFC 6749 section 2.3.1)
SVID: Final = "spiffe://corp.example/ns/authz/sa/authz"  # of our client certificate
REDIRECT: Final = "http://127.0.0.1:1/cb"  # nobody listens there: the code is read from the URL
_VERIFIER: Final = "v" * 43  # RFC 7636 section 4.1
_CHALLENGE: Final = "7w_YNF9DSfIdPf_pRjSq646_kPr-2-o9NAl16JGghdM"  # its S256
READ: Final = "balance:read"


def need_node(package: str = "oidc-provider") -> None:
    """Leave the test out where Node.js or a package of `.node` is missing; fail in CI."""
    if shutil.which("node") and (PACKAGES / "node_modules" / package).is_dir():
        return
    why = "it needs Node.js, and what `make setup` installs into .node"
    if os.environ.get("AUTHZ_NEEDS_NODE"):
        pytest.fail(why)
    pytest.skip(why)


class OpaqueIssuer(AbstractContextManager["OpaqueIssuer"]):
    """The server, its clients, and what they do there."""

    def __init__(self, folder: Path, *, seconds: int = 600, tls: Authority | None = None) -> None:
        """Start it; access tokens live for so many seconds. With an authority it speaks TLS."""
        need_node()
        self.folder = folder
        self.key: SigningKey = ec_key("authz-key")
        self.secret_file = folder / "authz.secret"
        self.secret_file.write_text(f"{SECRET}\n")
        self._ca = None if tls is None else tls.path
        settings = {
            "packages": str(PACKAGES),
            "resource": AUDIENCE,
            "scopes": [READ, "payments:write"],
            "seconds": seconds,
            "actors": {"travel": TRAVEL, "payments": PAYMENTS},
            "clients": self._clients(),
            "tls": None if tls is None else _files(tls),
        }
        script = Path(__file__).with_name("oidc_provider.mjs")
        log = folder / "oidc-provider.log"
        self._process = Process("oidc-provider", ["node", str(script), json.dumps(settings)], log)
        self._process.wait_until(lambda: self._url() != "")
        self.url = self._url()

    def _url(self) -> str:
        lines = whole_lines(self._process.log)
        return next((line for line in lines if line.startswith("http")), "")

    def _clients(self) -> list[dict[str, Any]]:
        agents = [
            {
                "client_id": name,
                "client_secret": name,
                "grant_types": ["client_credentials", "authorization_code", "refresh_token"],
                "response_types": ["code"],
                "redirect_uris": [REDIRECT],
            }
            for name in ("travel", "payments")
        ]
        none: dict[str, Any] = {"grant_types": [], "response_types": [], "redirect_uris": []}
        plain = {"client_id": "authz", "client_secret": SECRET, **none}
        keyed = {
            "client_id": "keyed",
            "token_endpoint_auth_method": "private_key_jwt",
            "token_endpoint_auth_signing_alg": "ES256",
            "jwks": {"keys": [self.key.jwk()]},
            **none,
        }
        certified = {
            "client_id": "certified",
            "token_endpoint_auth_method": "tls_client_auth",
            "tls_client_auth_san_uri": SVID,
            **none,
        }
        return [*agents, plain, keyed, *([certified] if self._ca else [])]

    @property
    def introspection_url(self) -> str:
        """The introspection endpoint."""
        return f"{self.url}/token/introspection"

    def config(self, credential: Mapping[str, Any] | None = None, **more: Any) -> ConfigBuilder:
        """Return the lab's config with this issuer in place of the lab's.

        ``credential`` is what introspection has beside its url, by default the secret; ``more`` are
        keys of the issuer.
        """
        given = credential or {"client_id": "authz", "client_secret_file": str(self.secret_file)}
        asked = {"url": self.introspection_url, "timeout": "10s", **given}
        if self._ca is None:
            asked["insecure"] = True
        else:
            asked["ca_file"] = str(self._ca)
        return opaque_config(self.url, asked, **more)

    def own_token(self, client: str = "travel", scope: str = READ) -> str:
        """Return a token that a client got for itself (RFC 6749 section 4.4)."""
        form = {"grant_type": "client_credentials", "scope": scope}
        return self._issued(client, form)["access_token"]

    def user_tokens(
        self, user: str = "alice", client: str = "travel", dpop: DpopClient | None = None
    ) -> dict[str, str]:
        """Return what a client gets when a user logs in and consents, by the code flow."""
        with self._http() as browser:
            code = _log_in(browser, f"{self.url}/auth", client, user)
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": REDIRECT,
            "code_verifier": _VERIFIER,
        }
        return self._issued(client, form, dpop)

    def revoke(self, token: str, client: str = "travel") -> None:
        """Revoke a token (RFC 7009)."""
        with self._http() as http:
            answer = http.post(
                f"{self.url}/token/revocation", data={"token": token}, auth=(client, client)
            )
        assert answer.status_code == 200

    def _issued(
        self, client: str, form: Mapping[str, str], dpop: DpopClient | None = None
    ) -> dict[str, str]:
        url = f"{self.url}/token"
        headers = {} if dpop is None else {"dpop": dpop.proof("", "POST", url, ath=None)}
        with self._http() as http:
            answer = http.post(url, data=form, auth=(client, client), headers=headers)
        assert answer.status_code == 200, answer.text
        found: dict[str, str] = answer.json()
        MADE.append(found["access_token"])
        return found

    def _http(self) -> httpx.Client:
        context = ssl.create_default_context(cafile=self._ca)
        return httpx.Client(verify=context, timeout=60.0, trust_env=False)

    @property
    def key_pem(self) -> str:
        """The private key of the client that authenticates by one."""
        form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return self.key.private.private_bytes(*form).decode()

    def stop(self) -> None:
        """Stop the server. A second time does nothing."""
        self._process.stop()

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self.stop()


def opaque_config(url: str, introspection: Mapping[str, Any], **more: Any) -> ConfigBuilder:
    """Return the lab's config with an issuer of opaque tokens in place of the lab's."""
    issuer = {"issuer": url, "audiences": [AUDIENCE], "introspection": dict(introspection), **more}
    return (
        LAB.with_(("issuers", 0), issuer)
        .with_(("principals", 0, "match", "issuer"), url)
        .with_(("principals", 1, "match", "issuer"), url)
    )


def _files(authority: Authority) -> dict[str, str]:
    svid = authority.issue(dns=("localhost",))
    files = {"certificate": svid.certificate_path, "key": svid.key_path, "ca": authority.path}
    return {name: str(path) for name, path in files.items()}


def _log_in(browser: httpx.Client, url: str, client: str, user: str) -> str:
    """Log a user in and consent, as a browser does, and return the code."""
    query = {
        "client_id": client,
        "response_type": "code",
        "redirect_uri": REDIRECT,
        "scope": f"openid offline_access {READ}",
        "prompt": "consent",
        "resource": AUDIENCE,
        "code_challenge": _CHALLENGE,
        "code_challenge_method": "S256",
    }
    answer = browser.get(url, params=query)
    for _ in range(10):
        if answer.is_redirect:
            place = str(answer.next_request.url) if answer.next_request else ""
            if place.startswith(REDIRECT):
                found = parse_qs(urlsplit(place).query)
                assert "code" in found, found
                return found["code"][0]
            answer = browser.get(place)
            continue
        assert answer.status_code == 200, answer.text
        form = _Form(answer.text)
        fields = {**form.fields, "login": user, "password": "any"}
        answer = browser.post(form.action or str(answer.url), data=fields)
    raise AssertionError("the log-in never ended")


class _Form(HTMLParser):
    """The form of a page."""

    def __init__(self, page: str) -> None:
        """Read the page."""
        super().__init__()
        self.action = ""
        self.fields: dict[str, str] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the form's action and its hidden fields."""
        found = dict(attrs)
        if tag == "form" and not self.action:
            self.action = found.get("action") or ""
        if tag == "input" and found.get("type") == "hidden":
            self.fields[found["name"] or ""] = found.get("value") or ""
