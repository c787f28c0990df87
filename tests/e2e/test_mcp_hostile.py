"""Messages that two readers may take for two things: an MCP server behind gets none of them.

The tool ``delete_trip`` is granted to nobody. Each message here is a call of it, to some reader;
the official SDK's server, with nobody in front of it, does call it for half of them.
"""

import gzip
import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from lab.client import bearer
from lab.mesh import TRAVEL, Mesh
from lab.trips import BOOK, HOST, PATHS, READ, RESOURCE

pytestmark = pytest.mark.e2e
DELETED = b"deleted T1"
HEAD = b'"jsonrpc":"2.0","id":1,"method":"tools/call"'
GOOD = b'"params":{"name":"search_trips","arguments":{"to":"Bern"}}'
BAD = b'"params":{"name":"delete_trip","arguments":{"number":"T1"}}'
PLAIN = b"{%b,%b}" % (HEAD, BAD)
ALLOWED = b"{%b,%b}" % (HEAD, GOOD)
TYPE = "application/json"


@dataclass(frozen=True)
class Message:
    """A body, and headers that differ from a client's usual ones; "" leaves one out."""

    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    def fields(self) -> list[tuple[str, str]]:
        """All headers but the token."""
        usual = {
            "content-type": TYPE,
            "accept": "application/json, text/event-stream",
            "mcp-protocol-version": "2025-11-25",
        }
        return [(name, value) for name, value in (usual | dict(self.headers)).items() if value]


HOSTILE = {
    "as it is": Message(PLAIN),
    "no version": Message(PLAIN, {"mcp-protocol-version": ""}),
    "a version nobody knows": Message(PLAIN, {"mcp-protocol-version": "2099-01-01"}),
    "params twice": Message(b"{%b,%b,%b}" % (HEAD, GOOD, BAD)),
    "params twice, the other way": Message(b"{%b,%b,%b}" % (HEAD, BAD, GOOD)),
    "a name twice": Message(PLAIN.replace(b'{"name"', b'{"name":"search_trips","name"')),
    "a name twice, escaped": Message(
        PLAIN.replace(b'{"name"', b'{"na\\u006de":"search_trips","name"')
    ),
    "a method twice": Message(PLAIN.replace(b'"method"', b'"method":"ping","method"')),
    "an escaped name": Message(PLAIN.replace(b"delete_trip", b"d\\u0065lete_trip")),
    "an escaped method": Message(PLAIN.replace(b"tools/call", b"tools\\/c\\u0061ll")),
    "a second message": Message(ALLOWED + PLAIN),
    "a second line": Message(ALLOWED + b"\n" + PLAIN),
    "a batch": Message(b"[%b,%b]" % (ALLOWED, PLAIN)),
    "a batch of that time": Message(
        b"[%b,%b]" % (ALLOWED, PLAIN), {"mcp-protocol-version": "2025-03-26"}
    ),
    "a batch in a batch": Message(b"[[%b]]" % PLAIN, {"mcp-protocol-version": "2025-03-26"}),
    "a mark of order first": Message(b"\xef\xbb\xbf" + PLAIN),
    "UTF-16": Message(PLAIN.decode().encode("utf-16")),
    "UTF-16, said": Message(
        PLAIN.decode().encode("utf-16-le"), {"content-type": f"{TYPE}; charset=utf-16le"}
    ),
    "UTF-32": Message(PLAIN.decode().encode("utf-32-be")),
    "no UTF-8 in a name": Message(PLAIN.replace(b"delete_trip", b"\xffdelete_trip")),
    "no number": Message(PLAIN.replace(b'"T1"', b'"T1","n":NaN')),
    "a huge number": Message(PLAIN.replace(b'"T1"', b'"T1","n":1e999')),
    "a comment": Message(PLAIN.replace(b"{", b"{/**/", 1)),
    "white space of other kinds": Message(b"\x0b\x0c" + PLAIN),
    "a zero byte after it": Message(PLAIN + b"\0"),
    "compressed": Message(gzip.compress(PLAIN), {"content-encoding": "gzip"}),
    "said to be compressed": Message(PLAIN, {"content-encoding": "gzip"}),
    "text": Message(PLAIN, {"content-type": "text/plain"}),
    "another JSON": Message(PLAIN, {"content-type": "application/json-seq"}),
    "two types": Message(PLAIN, {"content-type": f"{TYPE}, text/plain"}),
    "no type": Message(PLAIN, {"content-type": ""}),
    "a name in a header": Message(PLAIN, {"mcp-method": "tools/call", "mcp-name": "search_trips"}),
    "a method in a header": Message(PLAIN, {"mcp-method": "ping"}),
    "an overridden method": Message(PLAIN, {"x-http-method-override": "GET"}),
    "a notification": Message(PLAIN.replace(b'"id":1,', b"")),
    "an id of null": Message(PLAIN.replace(b'"id":1', b'"id":null')),
    "an id of text": Message(PLAIN.replace(b'"id":1', b'"id":"1"')),
    "a response too": Message(PLAIN[:-1] + b',"result":{}}'),
    "a mark of partial bodies": Message(PLAIN, {"x-envoy-auth-partial-body": "false"}),
    "deep": Message(PLAIN.replace(b'"T1"', b'"T1","n":%b1%b' % (b"[" * 500, b"]" * 500))),
    "a session of nobody": Message(PLAIN, {"mcp-session-id": "0" * 32}),
    "the newest version": Message(
        PLAIN,
        {
            "mcp-protocol-version": "2026-07-28",
            "mcp-method": "tools/call",
            "mcp-name": "search_trips",
        },
    ),
    "the newest version in the body": Message(
        PLAIN.replace(
            b'"arguments"',
            b'"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",'
            b'"io.modelcontextprotocol/clientInfo":{"name":"x","version":"1"},'
            b'"io.modelcontextprotocol/clientCapabilities":{}},"arguments"',
        )
    ),
}


def directly(mesh: Mesh, message: Message) -> bytes:
    """What the MCP server itself answers, with nobody in front."""
    connection = http.client.HTTPConnection("127.0.0.1", mesh.mcp.port, timeout=60)
    try:
        headers = dict(message.fields()) | {"host": HOST}
        connection.request("POST", PATHS["stateless"], message.body, headers)
        return connection.getresponse().read()
    finally:
        connection.close()


def test_the_server_alone_would(trips: Mesh) -> None:
    """Asked directly, the server calls the tool, for messages too that are no plain ones."""
    fooled = {name for name, message in HOSTILE.items() if DELETED in directly(trips, message)}

    assert {"as it is", "a name twice", "params twice", "an escaped name"} <= fooled


@pytest.mark.parametrize("name", HOSTILE)
def test_behind_us_it_never_does(trips: Mesh, name: str) -> None:
    """Each message is refused, and the tool is not called, whatever the server makes of it."""
    message = HOSTILE[name]
    token = trips.issuer.token(TRAVEL, scope=f"{READ} {BOOK}", aud=RESOURCE)
    fields = [*message.fields(), *bearer(token)]
    before = trips.mcp.process.log.read_text().count("deleted")
    reply = trips.agent(TRAVEL).request("POST", PATHS["stateless"], fields, message.body)

    assert reply.status in {400, 403, 413, 415}
    assert DELETED not in reply.body
    assert trips.mcp.process.log.read_text().count("deleted") == before
    if reply.reason:
        answer = json.loads(reply.body)
        for one in answer if isinstance(answer, list) else [answer]:
            assert one["error"]["data"]["reason"] == reply.reason


def test_the_nearest_good_message_passes(trips: Mesh) -> None:
    """The same client with a granted tool is served."""
    token = trips.issuer.token(TRAVEL, scope=READ, aud=RESOURCE)
    fields = [*Message(b"").fields(), *bearer(token)]
    reply = trips.agent(TRAVEL).request("POST", PATHS["stateless"], fields, ALLOWED)

    assert reply.status == 200
    assert b"T120" in reply.body
