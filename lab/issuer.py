"""A token issuer with real keys, and the HTTP endpoint that publishes them; faults on demand."""

import json
import secrets
import threading
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
_KINDS = {"ES256": "EC", "ES384": "EC384", "RS256": "RSA", "PS256": "RSA", "EdDSA": "OKP"}


def make_key(algorithm: str) -> PrivateKey:
    """Make a new private key for an algorithm."""
    kind = _KINDS["EdDSA" if algorithm == "Ed25519" else algorithm]
    if kind == "EC":
        return ec.generate_private_key(ec.SECP256R1())
    if kind == "EC384":
        return ec.generate_private_key(ec.SECP384R1())
    if kind == "RSA":
        return rsa.generate_private_key(65537, 2048)
    return ed25519.Ed25519PrivateKey.generate()


@dataclass(frozen=True)
class SigningKey:
    """A private key with the name and algorithm under which it is published."""

    key_id: str
    algorithm: str
    private: PrivateKey

    def sign(self, data: bytes) -> bytes:
        """Return the JWS signature over bytes."""
        name = "EdDSA" if self.algorithm == "Ed25519" else self.algorithm
        signature: bytes = jwt.get_algorithm_by_name(name).sign(data, self.private)
        return signature

    def jwk(self) -> dict[str, Any]:
        """Return the public JWK."""
        name = "EdDSA" if self.algorithm == "Ed25519" else self.algorithm
        public = jwt.get_algorithm_by_name(name).to_jwk(self.private.public_key(), as_dict=True)
        public.pop("key_ops", None)
        return {**public, "kid": self.key_id, "alg": self.algorithm, "use": "sig"}


def b64(data: bytes) -> str:
    """Encode as base64url without padding."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def claims_of(token: str) -> dict[str, Any]:
    """Return the claims of a token, unverified."""
    claims: dict[str, Any] = json.loads(urlsafe_b64decode(token.split(".")[1] + "=="))
    return claims


MADE: list[str] = []  # every token and proof of this process: no output may hold a part of one


def sign_raw(key: SigningKey, header: bytes, payload: bytes) -> str:
    """Make a compact JWS over exactly these bytes, valid JSON or not."""
    signing_input = f"{b64(header)}.{b64(payload)}"
    token = f"{signing_input}.{b64(key.sign(signing_input.encode()))}"
    MADE.append(token)
    return token


def sign_json(key: SigningKey, header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
    """Make a compact JWS of a header and claims."""
    return sign_raw(key, json.dumps(header).encode(), json.dumps(claims).encode())


class Issuer:
    """Makes delegation tokens as RFC 9068 and RFC 8693 describe them."""

    def __init__(self, url: str, audience: str, algorithm: str = "ES256") -> None:
        """Begin with a single key."""
        self.url = url
        self.audience = audience
        self.keys: dict[str, SigningKey] = {}
        self.current = self.rotate(algorithm)

    def rotate(self, algorithm: str = "ES256") -> SigningKey:
        """Add a key and sign with it from now on."""
        key = SigningKey(f"key-{secrets.token_hex(4)}", algorithm, make_key(algorithm))
        self.keys[key.key_id] = key
        self.current = key
        return key

    def jwks(self) -> bytes:
        """Return the published key set."""
        return json.dumps({"keys": [key.jwk() for key in self.keys.values()]}).encode()

    def claims(
        self,
        agent: str,
        subject: str,
        scope: str,
        **changes: Any,  # noqa: ANN401 - any claim
    ) -> dict[str, Any]:
        """Return the claims of a valid token; a change to None leaves a claim out."""
        now = int(time.time())
        claims = {
            "iss": self.url,
            "sub": subject,
            "aud": self.audience,
            "client_id": "lab-client",
            "iat": now,
            "exp": now + 600,
            "jti": secrets.token_hex(8),
            "scope": scope,
            "act": {"sub": agent},
        } | changes
        return {name: value for name, value in claims.items() if value is not None}

    def token(
        self,
        agent: str,
        subject: str = "alice",
        scope: str = "",
        *,
        key: SigningKey | None = None,
        header: Mapping[str, Any] | None = None,
        **changes: Any,  # noqa: ANN401 - any claim
    ) -> str:
        """Make a signed token; ``header`` and ``changes`` alter it, None leaves a member out."""
        key = key or self.current
        members = {"alg": key.algorithm, "kid": key.key_id, "typ": "at+jwt"} | dict(header or {})
        members = {name: value for name, value in members.items() if value is not None}
        claims = self.claims(agent, subject, scope, **changes)
        return sign_json(key, members, claims)

    def id_token(
        self,
        client: str,
        subject: str = "alice",
        **changes: Any,  # noqa: ANN401 - any claim
    ) -> str:
        """Make the ID token of a login at a client (OpenID Connect Core 1.0 section 2)."""
        now = int(time.time())
        claims = {
            "iss": self.url,
            "sub": subject,
            "aud": client,
            "iat": now,
            "exp": now + 600,
            "auth_time": now,
            "nonce": secrets.token_urlsafe(),
        } | changes
        header = {"alg": self.current.algorithm, "kid": self.current.key_id, "typ": "JWT"}
        return sign_json(self.current, header, {n: v for n, v in claims.items() if v is not None})


@dataclass
class Faults:
    """The ways in which the endpoint misbehaves now."""

    status: int = 200
    body: bytes | None = None
    delay_seconds: float = 0.0
    drop: bool = False
    headers: dict[str, str] = field(default_factory=dict)


class JwksServer:
    """The issuer's HTTP endpoint on loopback: ``/jwks``. Counts the fetches."""

    def __init__(self, issuer: Issuer | None = None) -> None:
        """Serve an issuer's keys; the issuer can be set later."""
        self.issuer = issuer
        self.faults = Faults()
        self.fetches = 0
        self.watch(lambda _: None, lambda _: None)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )
        self._thread.start()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer a fetch."""
        self.fetches += 1
        self._on_fetch(time.monotonic())
        if self.faults.drop:
            handler.close_connection = True
            return
        known = handler.path == "/jwks" and self.issuer is not None
        body = self.faults.body
        if body is None:
            body = self.issuer.jwks() if known and self.issuer else b"{}"
        time.sleep(self.faults.delay_seconds)
        handler.send_response(self.faults.status if known else 404)
        handler.send_header("content-type", "application/jwk-set+json")
        handler.send_header("content-length", str(len(body)))
        for name, value in self.faults.headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)
        self._on_answer(time.monotonic())

    def watch(
        self, on_fetch: Callable[[float], object], on_answer: Callable[[float], object]
    ) -> None:
        """Have these called with the monotonic time of each fetch, and of each answer."""
        self._on_fetch, self._on_answer = on_fetch, on_answer

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
