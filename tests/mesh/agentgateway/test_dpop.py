"""DPoP through a real agentgateway: a proof counts for one call, and goes no further."""

import json
from pathlib import Path
from typing import Any

from lab.client import Reply
from lab.dpop import DpopClient
from support.agentgateway.raw_mcp import INITIALIZE, VERSION, message_of
from support.agentgateway.rig import HOST, RESOURCE, SCOPE, TRAVEL, Rig

API = "api.corp.example"
ACCOUNTS = f"https://{API}/accounts"
# A proof names a resource's origin, so the service's route has one.
CHANGES = {
    "routes:\n": "routes:\n"
    f"  - {{name: accounts, hosts: [{API}], paths: [/accounts/**], resource: '{ACCOUNTS}'}}\n",
    f"audiences: [{RESOURCE}]": f"audiences: [{RESOURCE}, {ACCOUNTS}]",
}


class Bound:
    """An agent whose token is bound to a key."""

    def __init__(self, rig: Rig, audience: str = RESOURCE) -> None:
        """Take the parts that run, and whom the token is for."""
        self._rig, self._key = rig, DpopClient()
        self.token = rig.issuer.token(TRAVEL, scope=SCOPE, aud=audience, cnf=self._key.confirmation)

    def proof(self, method: str, uri: str) -> str:
        """Return a new proof of a request."""
        return self._key.proof(self.token, method, uri)

    def get(self, path: str) -> Reply:
        """Ask the service."""
        proof = self.proof("GET", f"https://{API}{path}")
        headers = [("authorization", f"DPoP {self.token}"), ("dpop", proof)]
        return self._rig.client().request("GET", path, headers, host=API)

    def post(self, method: str, params: Any, session: str = "", proof: str = "") -> Reply:
        """Send a message of MCP, with a new proof unless one is given."""
        headers = [
            ("accept", "application/json, text/event-stream"),
            ("content-type", "application/json"),
            ("mcp-protocol-version", VERSION),
            ("authorization", f"DPoP {self.token}"),
            ("dpop", proof or self.proof("POST", f"https://{HOST}/mcp")),
        ]
        headers += [("mcp-session-id", session)] if session else []
        message = {"jsonrpc": "2.0", "id": 5, "method": method, "params": params}
        body = json.dumps(message).encode()
        return self._rig.client().request("POST", "/mcp", headers, body, host=HOST)


def test_mcp(rig: Rig) -> None:
    """One proof is enough for a list and the check of its result, and is no use again."""
    bound = Bound(rig)
    session = bound.post("initialize", INITIALIZE).headers["mcp-session-id"]
    proof = bound.proof("POST", f"https://{HOST}/mcp")
    tools = message_of(bound.post("tools/list", {}, session, proof))["result"]["tools"]
    rig.taken()
    again = bound.post("tools/list", {}, session, proof)
    call = {"name": "github_search", "arguments": {}}
    replayed = bound.post("tools/call", call, session, proof)
    assert rig.taken() == []
    called = bound.post("tools/call", call, session)
    received = rig.taken()

    assert "github_search" in {tool["name"] for tool in tools}
    for reply in (again, replayed):
        assert message_of(reply)["error"]["data"]["data"]["reason"] == "dpop_proof"
    assert "github.search" in str(message_of(called)["result"])
    assert [one.method for one in received] == ["tools/call"]
    assert not {"authorization", "dpop"} & received[0].headers.keys()


def test_a_service(tmp_path: Path) -> None:
    """A request that ext_authz allows arrives without token and proof."""
    with Rig(tmp_path, CHANGES) as rig:
        reply = Bound(rig, ACCOUNTS).get("/accounts/1")

    assert reply.status == 200
    assert not {"authorization", "dpop"} & dict(reply.seen_headers()).keys()
