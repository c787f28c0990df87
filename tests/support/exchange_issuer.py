"""An authorization server that exchanges tokens by RFC 8693, and misbehaves as a test says.

It knows its clients (RFC 6749 section 2.3, RFC 7523, RFC 8705, JWT-SVIDs), verifies the subject
token, and issues a token for the asked audience with the same subject and actors.
"""

import base64
import json
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, unquote_plus

import jwt

from lab.ca import Svid
from lab.issuer import Issuer, SigningKey
from support.jwks_server import Behaviour, ScriptedServer, answer

if TYPE_CHECKING:
    from threading import Event

CLIENT: Final = "authz"
SECRET: Final = "a b+c/:%~"  # form-encoding matters (RFC 6749 section 2.3.1)
SVID_ID: Final = "spiffe://corp.example/ns/authz/sa/authz"
GRANT: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
TYPE: Final = "urn:ietf:params:oauth:token-type:"
_ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:"


class OAuthFaultError(Exception):
    """A refusal of RFC 6749 section 5.2."""

    def __init__(self, code: str, status: int = 400) -> None:
        """Take the error code and the status."""
        super().__init__(code)
        self.code, self.status = code, status


class ExchangeIssuer(AbstractContextManager["ExchangeIssuer"]):
    """The server.

    Attributes:
        claims, members: changes to the issued token's claims, and to the answer's members.
        behaviour: what it does in place of all this, if anything.
        forms: the requests so far.
        refused: the codes of its refusals so far.
        tokens: the tokens that it has issued.
        seconds: how long these live.
        key: the key of the client that authenticates by an assertion.
        svids: the key that signs JWT-SVIDs of the trust domain.
        gate: if set, answers wait for it.
        opaque: the claims of its opaque tokens.
    """

    def __init__(self, issuer: Issuer, tls: Svid | None = None, client_ca: Any = None) -> None:
        """Serve the issuer's token endpoint; with ``client_ca`` it demands a certificate."""
        self.issuer = issuer
        self.claims: dict[str, Any] = {}
        self.members: dict[str, Any] = {}
        self.header: dict[str, Any] = {}
        self.behaviour: Behaviour | None = None
        self.forms: list[dict[str, str]] = []
        self.refused: list[str] = []
        self.tokens: list[str] = []
        self.seconds = 300
        self.key: SigningKey | None = None
        self.svids: SigningKey | None = None
        self.authenticates = True
        self.opaque: dict[str, dict[str, Any]] = {}
        self.gate: Event | None = None
        self.change: Callable[[dict[str, Any], dict[str, str]], None] = lambda *_: None
        self._by_certificate = client_ca is not None
        self._server = ScriptedServer(tls=tls, client_ca=client_ca)
        self._server.paths["/token"] = self._serve
        self.url = f"{self._server.base}/token"

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._server.close()

    @property
    def calls(self) -> int:
        """The number of requests so far."""
        return len(self.forms)

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        form = self._form(handler)
        if self.gate is not None:
            self.gate.wait(60)
        behaviour = self.behaviour
        if behaviour is not None:
            behaviour(handler)
            return
        try:
            body, status = self._exchange(form, handler.headers.get("authorization", "")), 200
        except OAuthFaultError as fault:
            self.refused.append(fault.code)
            body, status = {"error": fault.code, "error_description": "…"}, fault.status
        kind = "application/json;charset=UTF-8"
        answer(json.dumps(body).encode(), status, kind, {"cache-control": "no-store"})(handler)

    def _form(self, handler: BaseHTTPRequestHandler) -> dict[str, str]:
        body: bytes = vars(handler)["body"]  # this request's own, among many at once
        read = parse_qs(body.decode(), strict_parsing=True, keep_blank_values=True)
        form = {name: value for name, (value,) in read.items()}  # each once: RFC 6749 section 3.2
        self.forms.append(form)
        return form

    def _exchange(self, form: dict[str, str], authorization: str) -> dict[str, Any]:
        if self.authenticates:
            self._authenticate(form, authorization)
        if form.get("grant_type") != GRANT:
            raise OAuthFaultError("unsupported_grant_type")
        subject = self._subject(form)
        if not {"audience", "resource"} & form.keys():
            raise OAuthFaultError("invalid_target")
        held = set(subject.get("scope", "").split())
        asked = set(form["scope"].split()) if "scope" in form else held
        if not asked <= held:
            raise OAuthFaultError("invalid_scope")
        now = int(time.time())
        audiences = [form[name] for name in ("audience", "resource") if name in form]
        claims: dict[str, Any] = {
            **subject,
            "iss": self.issuer.url,
            "aud": audiences[0] if len(audiences) == 1 else audiences,
            "iat": now,
            "exp": now + self.seconds,
            "jti": f"exchanged-{len(self.forms)}",
            "scope": " ".join(sorted(asked)),
        }
        self._add_actor(claims, form)
        self.change(claims, form)
        claims |= self.claims
        claims = {name: value for name, value in claims.items() if value is not None}
        token = jwt.encode(
            claims,
            self.issuer.current.private,
            self.issuer.current.algorithm,
            {"kid": self.issuer.current.key_id, "typ": "at+jwt", **self.header},
        )
        self.tokens.append(token)
        members = {
            "access_token": token,
            "issued_token_type": form.get("requested_token_type", f"{TYPE}access_token"),
            "token_type": "Bearer",
            "expires_in": self.seconds,
            "scope": claims.get("scope"),
            **self.members,
        }
        return {name: value for name, value in members.items() if value is not None}

    def _subject(self, form: Mapping[str, str]) -> dict[str, Any]:
        if form.get("subject_token_type") not in (f"{TYPE}access_token", f"{TYPE}jwt"):
            raise OAuthFaultError("invalid_request")
        token = form.get("subject_token", "")
        if token in self.opaque:
            return self.opaque[token]
        try:
            key_id = jwt.get_unverified_header(token)["kid"]
            key = self.issuer.keys[key_id]
            return jwt.decode(
                token, key.private.public_key(), [key.algorithm], options={"verify_aud": False}
            )
        except (jwt.PyJWTError, KeyError):
            raise OAuthFaultError("invalid_request") from None

    def _add_actor(self, claims: dict[str, Any], form: Mapping[str, str]) -> None:
        """Put the actor token's subject before the earlier actors (RFC 8693 section 4.1)."""
        if "actor_token" not in form:
            return
        assert form["actor_token_type"].startswith(TYPE)
        said = jwt.decode(form["actor_token"], options={"verify_signature": False})
        earlier = {"act": claims["act"]} if "act" in claims else {}
        claims["act"] = {"sub": said["sub"], **earlier}

    def _authenticate(self, form: Mapping[str, str], authorization: str) -> None:
        if authorization:
            kind, _, pair = authorization.partition(" ")
            name, _, secret = base64.b64decode(pair).decode().partition(":")
            is_right = (unquote_plus(name), unquote_plus(secret)) == (CLIENT, SECRET)
            if kind != "Basic" or not is_right or "client_id" in form:
                raise OAuthFaultError("invalid_client", 401)
            return
        kind = form.get("client_assertion_type", "").removeprefix(_ASSERTION)
        if kind == "jwt-bearer":
            self._check(form, self.key, CLIENT)
        elif kind == "jwt-spiffe":
            self._check(form, self.svids, SVID_ID)
        elif not (self._by_certificate and form.get("client_id") == CLIENT):
            raise OAuthFaultError("invalid_client", 401)

    def _check(self, form: Mapping[str, str], key: SigningKey | None, subject: str) -> None:
        assert key is not None
        try:
            claims = jwt.decode(
                form["client_assertion"],
                key.private.public_key(),
                [key.algorithm],
                audience=self.issuer.url,
            )
        except jwt.PyJWTError:
            raise OAuthFaultError("invalid_client", 401) from None
        if claims["sub"] != subject:
            raise OAuthFaultError("invalid_client", 401)
