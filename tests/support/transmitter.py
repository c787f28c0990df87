"""A transmitter of security events, written to RFC 8417, 8935 and 8936, and to the OIDC logout.

It signs with the lab's keys, posts with retries, and keeps what is polled until it is acknowledged.
"""

import json
import secrets
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from lab.ca import Svid
from lab.issuer import Issuer, SigningKey, sign_json
from support.world import PATIENCE_SECONDS, wait_until

CAEP = "https://schemas.openid.net/secevent/caep/event-type/"
RISC = "https://schemas.openid.net/secevent/risc/event-type/"
SSF = "https://schemas.openid.net/secevent/ssf/event-type/"
LOGOUT = "http://schemas.openid.net/event/backchannel-logout"
RECEIVER = "https://authz.corp.example"
CLIENT = "front-end"


@dataclass
class Transmitter:
    """Makes tokens as an issuer."""

    issuer: Issuer

    def sign(
        self, header: Mapping[str, Any], claims: Mapping[str, Any], key: SigningKey | None = None
    ) -> str:
        """Sign; None leaves a member out."""
        key = key or self.issuer.current
        members = {"alg": key.algorithm, "kid": key.key_id} | dict(header)
        return sign_json(key, _given(members), _given(claims))

    def event(
        self,
        uri: str,
        subject: object = None,
        members: Mapping[str, Any] | None = None,
        *,
        header: Mapping[str, Any] | None = None,
        key: SigningKey | None = None,
        **changes: Any,
    ) -> str:
        """Make a security event token; by default about alice."""
        alice = {"format": "iss_sub", "iss": self.issuer.url, "sub": "alice"}
        claims = {
            "iss": self.issuer.url,
            "aud": RECEIVER,
            "iat": int(time.time()),
            "jti": secrets.token_hex(8),
            "sub_id": alice if subject is None else subject,
            "events": {uri: members or {}},
        }
        return self.sign({"typ": "secevent+jwt", **(header or {})}, claims | changes, key)

    def logout(
        self,
        *,
        header: Mapping[str, Any] | None = None,
        key: SigningKey | None = None,
        **changes: Any,
    ) -> str:
        """Make a logout token; by default alice's."""
        now = int(time.time())
        claims = {
            "iss": self.issuer.url,
            "aud": CLIENT,
            "sub": "alice",
            "iat": now,
            "exp": now + 120,
            "jti": secrets.token_hex(8),
            "events": {LOGOUT: {}},
        }
        return self.sign({"typ": "logout+jwt", **(header or {})}, claims | changes, key)


def _given(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


@dataclass
class Pusher:
    """Posts to a receiver, as a transmitter does, or its OpenID provider."""

    url: str
    token: str
    ca: Path | None = None

    def client(self, certificate: Svid | None = None) -> httpx.Client:
        """A client that trusts the receiver's CA, and may show a certificate."""
        context: ssl.SSLContext | bool = False
        if self.ca is not None:
            context = ssl.create_default_context(cafile=str(self.ca))
            if certificate is not None:
                context.load_cert_chain(certificate.certificate_path, certificate.key_path)
        return httpx.Client(verify=context, timeout=PATIENCE_SECONDS, trust_env=False)

    def push(self, path: str, text: str, **headers: str) -> httpx.Response:
        """Post a security event token once (RFC 8935 section 2.1)."""
        sent = {
            "content-type": "application/secevent+jwt",
            "accept": "application/json",
            "authorization": f"Bearer {self.token}",
        } | {name.replace("_", "-"): value for name, value in headers.items()}
        with self.client() as client:
            return client.post(self.url + path, content=text, headers=sent)

    def deliver(self, path: str, text: str) -> None:
        """Post until it is taken (section 2.2: the transmitter may try again)."""
        wait_until(lambda: self.push(path, text).status_code == 202)

    def log_out(self, path: str, token: str) -> httpx.Response:
        """Post a logout token (Back-Channel Logout section 2.5)."""
        with self.client() as client:
            return client.post(self.url + path, data={"logout_token": token})


@dataclass
class Polled:
    """The polling endpoint of a transmitter (RFC 8936): keeps what is not acknowledged."""

    kept: dict[str, str] = field(default_factory=dict)
    errors: dict[str, Any] = field(default_factory=dict)
    requests: list[dict[str, Any]] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    status: int = 200
    body: bytes | None = None

    def __post_init__(self) -> None:
        """Listen on loopback."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
                answer = outer.answer(asked, self.headers["authorization"])
                self.send_response(outer.status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/poll"

    def answer(self, asked: dict[str, Any], authorization: str | None) -> bytes:
        """Forget what is acknowledged, and return what is kept (sections 2.2 to 2.4)."""
        self.requests.append(asked)
        self.authorizations.append(authorization)
        if self.status == 200:
            for jti in asked.get("ack", ()):
                self.kept.pop(jti, None)
            for jti, why in asked.get("setErrs", {}).items():
                self.errors[jti] = why
                self.kept.pop(jti, None)
        if self.body is not None:
            return self.body
        most = int(asked.get("maxEvents", 1000))
        sets = dict(list(self.kept.items())[:most])
        return json.dumps({"sets": sets, "moreAvailable": len(self.kept) > len(sets)}).encode()

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()
