"""Calls through the proxy with mutual TLS, as an agent does; it can send malformed requests too."""

import http.client
import json
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.ca import Svid

TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True)
class Reply:
    """The response; ``told`` is what a client library makes of it, if one is used."""

    status: int
    headers: dict[str, str]
    body: bytes
    told: str = ""

    @property
    def reason(self) -> str:
        """Return the reason that agent-authz gave, "" without one."""
        return self.headers.get("x-authz-reason", "")

    def seen(self) -> dict[str, Any]:
        """Return what the echo upstream received."""
        received: dict[str, Any] = json.loads(self.body)
        return received

    def seen_headers(self, prefix: str = "") -> list[tuple[str, str]]:
        """Return the headers that the upstream received whose names start with the prefix."""
        return [(k, v) for k, v in self.seen()["headers"] if k.startswith(prefix)]


def tls_context(authority: Path, svid: Svid | None) -> ssl.SSLContext:
    """Return a TLS context that trusts the lab's CA, and shows the SVID if there is one."""
    context = ssl.create_default_context(cafile=str(authority))
    if svid is not None:
        context.load_cert_chain(svid.certificate_path, svid.key_path)
    return context


class Client:
    """An agent's client: its SVID, the proxy's address. A connection for each request."""

    def __init__(self, port: int, authority: Path, svid: Svid | None) -> None:
        """Take the proxy's address, the CA to trust, and our SVID."""
        self._address = ("127.0.0.1", port)
        self._tls = tls_context(authority, svid)

    def request(
        self,
        method: str,
        target: str,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        host: str = "mcp.corp.example",
    ) -> Reply:
        """Send exactly this target and these headers over HTTP/1.1, and read the reply.

        With a transfer-encoding among the headers the body is sent as it is, without a length.
        """
        lines = [f"{method} {target} HTTP/1.1", f"host: {host}", "connection: close"]
        lines.extend(f"{name}: {value}" for name, value in headers)
        if body and "transfer-encoding" not in dict(headers):
            lines.append(f"content-length: {len(body)}")
        data = "\r\n".join([*lines, "", ""]).encode("latin-1") + body
        with (
            socket.create_connection(self._address, TIMEOUT_SECONDS) as plain,
            self._tls.wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            secure.sendall(data)
            response = http.client.HTTPResponse(secure, method=method)
            response.begin()
            content = response.read()
            received = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, received, content)

    def get(self, target: str, token: str | None = None, **extra: Any) -> Reply:  # noqa: ANN401 - passed on
        """Send a GET with a bearer token."""
        return self.request("GET", target, bearer(token), **extra)


def bearer(token: str | None) -> list[tuple[str, str]]:
    """Return the header that carries a token, no header for None."""
    return [] if token is None else [("authorization", f"Bearer {token}")]
