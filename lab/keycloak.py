"""Runs a real Keycloak on loopback, and asks it for tokens; `make test-keycloak` installs it."""

import json
import os
import re
import secrets
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

from lab.issuer import MADE
from lab.login import log_in
from lab.processes import Process

HOME = Path(__file__).parent.parent / ".venv-keycloak" / "home"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"
REFRESH_TOKEN = "urn:ietf:params:oauth:token-type:refresh_token"
# It makes its database and its keys at each start: half a minute of two cores.
START_SECONDS = 480.0
_LISTENING = re.compile(r"Listening on: (http://127\.0\.0\.1:[0-9]+)")
# Its transmitter of security events, an experimental feature, posts to loopback too, and at once.
_SSF = (
    "--spi-ssf-transmitter--default--allow-insecure-push-targets=true",
    "--spi-ssf-transmitter--default--outbox-drainer-interval=1s",
)
# Half of the machine's memory if nothing is said.
_HEAP = "-Xms64m -Xmx512m"


class KeycloakError(RuntimeError):
    """Keycloak refused a request; the message has its status and its words."""


class Keycloak:
    """A running Keycloak, whose database is in memory."""

    def __init__(self, folder: Path) -> None:
        """Start it. Its port is free for certain: Keycloak says in its log which it got."""
        self.admin_password = secrets.token_urlsafe()
        self._admin_token = ("", 0.0)
        options = ["--http-enabled=true", "--http-host=127.0.0.1", "--http-port=0"]
        self.process = Process(
            "keycloak",
            [
                *(str(HOME / "bin" / "kc.sh"), "start", "--optimized", "--cache=local"),
                *("--hostname-strict=false", *options, *_SSF),
            ],
            folder / "keycloak.log",
            {
                "KC_BOOTSTRAP_ADMIN_USERNAME": "admin",
                "KC_BOOTSTRAP_ADMIN_PASSWORD": self.admin_password,
                "JAVA_OPTS_KC_HEAP": _HEAP,
            },
        )
        self.url = ""

    def wait_ready(self) -> Self:
        """Wait until Keycloak answers. Raises ProcessError."""
        self.process.wait_until(self._is_ready, START_SECONDS)
        return self

    def _is_ready(self) -> bool:
        found = _LISTENING.search(self.process.log.read_text())
        if not found:
            return False
        self.url = found[1]
        try:
            return "realm" in self.call("GET", "/realms/master")
        except (OSError, KeycloakError):
            return False

    def stop(self) -> None:
        """Stop Keycloak, and what is left of its script's processes."""
        self.process.stop()
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        form: Mapping[str, str] | None = None,
        token: str = "",
    ) -> Any:  # noqa: ANN401 - any JSON
        """Send a request, and return the JSON of the answer, None if it has no body.

        Raises:
            KeycloakError: It was refused.
            OSError: Keycloak can't be reached.
        """
        headers = {"authorization": f"Bearer {token}"} if token else {}
        data = urlencode(form).encode() if form is not None else None
        if body is not None:
            data, headers["content-type"] = json.dumps(body).encode(), "application/json"
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return json.loads(response.read() or b"null")
        except urllib.error.HTTPError as error:
            words = error.read().decode(errors="replace")
            raise KeycloakError(f"{method} {path}: {error.code} {words}") from None

    def admin(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - any JSON
        """Call the Admin REST API: a path below /admin/realms. Raises as ``call``."""
        token, until = self._admin_token
        if time.monotonic() > until:  # it lives for a minute
            form = {
                "grant_type": "password",
                "client_id": "admin-cli",
                "username": "admin",
                "password": self.admin_password,
            }
            answer = self.call("POST", f"/realms/master{_TOKEN}", form=form)
            token = answer["access_token"]
            self._admin_token = (token, time.monotonic() + answer["expires_in"] / 2)
        return self.call(method, f"/admin/realms{path}", body, token=token)


_TOKEN = "/protocol/openid-connect/token"


class Realm:
    """A realm: its users, its clients, and the tokens that they get."""

    def __init__(self, keycloak: Keycloak, name: str) -> None:
        """Name a realm; ``create`` makes it."""
        self.keycloak = keycloak
        self.name = name
        self._passwords: dict[str, str] = {}

    @property
    def issuer(self) -> str:
        """The ``iss`` of its tokens."""
        return f"{self.keycloak.url}/realms/{self.name}"

    def create(self) -> Self:
        """Make the realm."""
        self.keycloak.admin("POST", "", {"realm": self.name, "enabled": True})
        return self

    def admin(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - any JSON
        """Call the Admin REST API, with a path below the realm."""
        return self.keycloak.admin(method, f"/{self.name}{path}", body)

    def add_user(self, name: str) -> None:
        """Add a user who has all that Keycloak wants to know before it lets a user in."""
        self._passwords[name] = secrets.token_urlsafe()
        user = {
            "username": name,
            "firstName": name.capitalize(),
            "lastName": "Example",
            "email": f"{name}@corp.example",
            "emailVerified": True,
            "enabled": True,
            "credentials": [{"type": "password", "value": self._passwords[name]}],
        }
        self.admin("POST", "/users", user)

    def user_id(self, name: str) -> str:
        """Return the ``sub`` of a user."""
        return str(self.admin("GET", f"/users?exact=true&username={name}")[0]["id"])

    def client(self, client_id: str) -> dict[str, Any]:
        """Return a client as the Admin REST API shows it, its secret too."""
        found: dict[str, Any] = self.admin("GET", f"/clients?clientId={client_id}")[0]
        return found

    @contextmanager
    def with_attribute(self, client_id: str, name: str, value: str) -> Iterator[None]:
        """Set an attribute of a client, which is a switch, for a while."""
        client = self.client(client_id)
        changed = {**client, "attributes": {**client["attributes"], name: value}}
        self.admin("PUT", f"/clients/{client['id']}", changed)
        try:
            yield
        finally:
            before = {name: "", **client["attributes"]}  # an empty text removes it
            self.admin("PUT", f"/clients/{client['id']}", {**client, "attributes": before})

    @contextmanager
    def without_scope(self, client_id: str, name: str) -> Iterator[None]:
        """Take a default client scope from a client for a while."""
        scopes = self.admin("GET", "/client-scopes")
        scope_id = next(scope["id"] for scope in scopes if scope["name"] == name)
        path = f"/clients/{self.client(client_id)['id']}/default-client-scopes/{scope_id}"
        self.admin("DELETE", path)
        try:
            yield
        finally:
            self.admin("PUT", path)

    @contextmanager
    def with_mapper(self, client_id: str, kind: str, config: Mapping[str, str]) -> Iterator[None]:
        """Give a client a protocol mapper for its access tokens, for a while."""
        name = secrets.token_hex(8)
        mapper = {
            "name": name,
            "protocol": "openid-connect",
            "protocolMapper": kind,
            "config": {"access.token.claim": "true", **config},
        }
        self.admin("POST", self._mappers(client_id), mapper)
        try:
            yield
        finally:
            self.remove_mapper(client_id, name)

    def remove_mapper(self, client_id: str, name: str) -> None:
        """Take a protocol mapper from a client."""
        mappers = self._mappers(client_id)
        found = (one for one in self.admin("GET", mappers) if one["name"] == name)
        self.admin("DELETE", f"{mappers}/{next(found)['id']}")

    def _mappers(self, client_id: str) -> str:
        return f"/clients/{self.client(client_id)['id']}/protocol-mappers/models"

    def service_account_id(self, client_id: str) -> str:
        """Return the ``sub`` of a client's own tokens."""
        found = self.admin("GET", f"/clients/{self.client(client_id)['id']}/service-account-user")
        return str(found["id"])

    def by_password(self, client_id: str, user: str, scope: str) -> dict[str, Any]:
        """Log a user in by password (RFC 6749 section 4.3), and return the whole answer."""
        return self.ask(
            client_id,
            grant_type="password",
            username=user,
            password=self._passwords[user],
            scope=scope,
        )

    def by_login(self, client_id: str, user: str, scope: str = "openid") -> dict[str, Any]:
        """Log a user in at Keycloak's page, with OpenID Connect, and return the whole answer."""
        uri = str(self.client(client_id)["redirectUris"][0])
        code = log_in(
            self.issuer,
            client_id=client_id,
            redirect_uri=uri,
            user=user,
            password=self._passwords[user],
            scope=scope,
        )
        return self.ask(client_id, grant_type="authorization_code", code=code, redirect_uri=uri)

    def own(self, client_id: str, scope: str) -> str:
        """Return a client's own token (RFC 6749 section 4.4)."""
        answer = self.ask(client_id, grant_type="client_credentials", scope=scope)
        return str(answer["access_token"])

    def exchange(
        self, client_id: str, token: str, scope: str, requested: str = ACCESS_TOKEN
    ) -> dict[str, Any]:
        """Let a client exchange a token (RFC 8693), and return the whole answer."""
        return self.ask(
            client_id,
            grant_type="urn:ietf:params:oauth:grant-type:token-exchange",
            subject_token=token,
            subject_token_type=ACCESS_TOKEN,
            requested_token_type=requested,
            scope=scope,
        )

    def refresh(self, client_id: str, refresh_token: str) -> str:
        """Return a new access token for a refresh token."""
        answer = self.ask(client_id, grant_type="refresh_token", refresh_token=refresh_token)
        return str(answer["access_token"])

    def ask(self, client_id: str, **form: str) -> dict[str, Any]:
        """Ask the token endpoint as a client. Raises KeycloakError."""
        secret = self.client(client_id)["secret"]
        answer: dict[str, Any] = self.keycloak.call(
            "POST",
            f"/realms/{self.name}{_TOKEN}",
            form={"client_id": client_id, "client_secret": secret, **form},
        )
        MADE.extend(text for name, text in answer.items() if name.endswith("_token"))
        return answer

    def rotate_keys(self) -> None:
        """Add a key that signs from now on. The one before stays published."""
        key = {
            "name": f"rsa-{secrets.token_hex(4)}",
            "providerId": "rsa-generated",
            "providerType": "org.keycloak.keys.KeyProvider",
            "config": {"priority": [str(time.time_ns())], "algorithm": ["RS256"]},
        }
        self.admin("POST", "/components", key)
