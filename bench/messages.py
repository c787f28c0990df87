"""The CheckRequests of the bench, as Envoy sends them.

What differs from one request to the next in a real mesh differs here too: the ids of the request,
of its trace and of its stream, the client's port, the time. A server must not be measured on a
message that it has seen byte by byte.
"""

import itertools
import json
import random
import secrets
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from authz._pb import ext_authz_pb2 as pb
from lab.ca import Svid
from lab.issuer import Issuer
from lab.mesh import GATEWAY, TRAVEL

REQUEST_ID: Final = "x-request-id"
TRACE: Final = "traceparent"
HEADERS: Final = {
    ":authority": "mcp.corp.example",
    ":method": "GET",
    ":path": "/finance/00000000",
    ":scheme": "https",
    "accept": "application/json, text/event-stream",
    "accept-encoding": "gzip, deflate",
    "content-type": "application/json",
    TRACE: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "user-agent": "python-httpx/0.28.1",
    "x-envoy-internal": "true",
    "x-forwarded-for": "10.0.0.7",
    "x-forwarded-proto": "https",
    REQUEST_ID: "1b9c9c39-6c2f-4e0a-9c2b-9f4d3f4e2f11",
}
PATH: Final = HEADERS[":path"]
CALL: Final = {
    "jsonrpc": "2.0",
    "id": 10_000_000,
    "method": "tools/call",
    "params": {
        "name": "search",
        "arguments": {
            "query": "trains from Zurich to Lisbon that leave on a Friday, " * 18,
            "filters": [{"field": f"field-{n}", "op": "eq", "value": n} for n in range(20)],
            "limit": 50,
        },
        "_meta": {"progressToken": 7},
    },
}
VARIANTS: Final = 512
PORTS: Final = range(32768, 61000)  # those that Linux gives to clients

Maker = Callable[[], bytes]


class Messages:
    """Makes the requests of one agent."""

    def __init__(self, svid: Svid, issuer: Issuer) -> None:
        """Take the agent's certificate, and the issuer of its tokens."""
        self._certificate = svid.url_encoded
        self._issuer = issuer

    def one(self, issuer: Issuer | None = None, *, raw: bool = False) -> bytes:
        """Return a request with a fresh token; ``raw`` for headers as bytes, in their order."""
        return _other(self._request(issuer, raw=raw))

    def remembered(self, *, raw: bool = False) -> Maker:
        """Return what makes the same request over and over, but for its ids, port and time."""
        return _varied(self._request(raw=raw))

    def new_paths(self, **claims: Any) -> Maker:  # noqa: ANN401 - any claim
        """Return what makes requests with one token, each for another path."""
        make, numbers, old = _varied(self._request(**claims)), _numbers(), PATH.encode()
        return lambda: make().replace(old, b"/finance/%08d" % next(numbers))

    def calls(self) -> Maker:
        """Return what makes MCP calls with some 2 KB of body, each with another JSON-RPC id."""
        request = self._request(raw=True)
        http = request.attributes.request.http
        http.method, http.path = "POST", "/mcp"
        _set(http, {":method": http.method, ":path": http.path})
        http.raw_body = json.dumps(CALL).encode()
        http.size = len(http.raw_body)
        further = {"content-length": str(http.size), "x-envoy-auth-partial-body": "false"}
        for name, value in further.items():
            http.header_map.headers.add(key=name, raw_value=value.encode())
        make, numbers = _varied(request), _numbers()
        old = str(CALL["id"]).encode()
        return lambda: make().replace(old, b"%d" % next(numbers))

    def new_tokens(self, issuer: Issuer, **claims: Any) -> Maker:  # noqa: ANN401 - any claim
        """Return what makes requests with a new token each; ``claims`` are other than usual.

        All are of one principal, and differ in times and ids alone, as the tokens of a session do.
        """
        return lambda: _other(self._request(issuer, **claims))

    def new_principals(self, issuer: Issuer) -> Maker:
        """Return what makes requests with a new token each, of another principal each time."""
        numbers = _numbers()
        return lambda: _other(
            self._request(issuer, subject=f"user-{next(numbers)}", groups=["readers"])
        )

    def _request(
        self,
        issuer: Issuer | None = None,
        *,
        raw: bool = False,
        **claims: Any,  # noqa: ANN401 - any claim
    ) -> pb.CheckRequest:
        token = (issuer or self._issuer).token(TRAVEL, scope="balance:read", **claims)
        request = pb.CheckRequest()
        request.attributes.source.principal = TRAVEL
        request.attributes.source.certificate = self._certificate
        destination = request.attributes.destination
        destination.principal = GATEWAY
        destination.address.socket_address.address = "10.0.0.1"
        destination.address.socket_address.port_value = 8443
        http = request.attributes.request.http
        http.method, http.host, http.path = "GET", "mcp.corp.example", PATH
        http.scheme, http.protocol = "https", "HTTP/2"
        for name, value in {**HEADERS, "authorization": f"Bearer {token}"}.items():
            if raw:
                http.header_map.headers.add(key=name, raw_value=value.encode())
            else:
                http.headers[name] = value
        return request


def write(path: Path, make: Maker, count: int) -> Path:
    """Write messages as the load generator reads them, each behind its size in four bytes."""
    with path.open("wb") as file:
        for _ in range(count):
            message = make()
            file.write(len(message).to_bytes(4, "big") + message)
    return path


def _numbers() -> Iterator[int]:
    """Yield numbers of eight digits that no other call is likely to yield."""
    return iter(range(random.randrange(10**7, 5 * 10**7), 10**8))


def _varied(request: pb.CheckRequest) -> Maker:
    """Return what makes a request again and again with other values where no decision looks."""
    return itertools.cycle([_other(request) for _ in range(VARIANTS)]).__next__


def _other(request: pb.CheckRequest) -> bytes:
    attributes = request.attributes
    address = attributes.source.address.socket_address
    address.address, address.port_value = "10.0.0.7", random.choice(PORTS)
    attributes.request.time.FromNanoseconds(time.time_ns() // 1000 * 1000)
    attributes.request.http.id = str(random.getrandbits(64))
    ids = {
        REQUEST_ID: str(uuid.uuid4()),
        TRACE: f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01",
    }
    _set(attributes.request.http, ids)
    return request.SerializeToString()


def _set(http: pb.HttpRequest, values: Mapping[str, str]) -> None:
    """Set headers, in whichever of the two forms the request has them."""
    for header in http.header_map.headers:
        if header.key in values:
            header.raw_value = values[header.key].encode()
    if http.headers:
        for name, value in values.items():
            http.headers[name] = value
