"""``make demo``: a story of allowed and denied requests, through a real Envoy, told as tables."""

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lab import demo_mcp, demo_sts, trips
from lab import mesh as lab
from lab.client import Client, Reply, bearer
from lab.dpop import DpopClient
from lab.envoy import EnvoyMissingError
from lab.issuer import Issuer
from lab.mesh import ORCHESTRATOR, PAYMENTS, RETIRED, STRANGER, TRAVEL, Mesh
from lab.processes import ProcessError
from lab.table import Line, tell

READ = "balance:read"


def story(mesh: Mesh) -> list[Line]:
    """Yield the requests, in order."""
    travel, issuer = mesh.agent(TRAVEL), mesh.issuer
    balance, pay = "/finance/balance", "/finance/payments/42"
    good = issuer.token(TRAVEL, scope=READ)
    stranger_issuer = Issuer("https://as.evil.example", lab.AUDIENCE)
    forger = Issuer(lab.ISSUER, lab.AUDIENCE)
    forged_headers = [
        ("x-agent-id", "spiffe://corp.example/ns/agents/sa/root"),
        ("X-Agent-Principal", "root"),
        ("x-agent-chain", "root"),
    ]
    chain = {"sub": TRAVEL, "act": {"sub": ORCHESTRATOR}}

    def get(client: Client, token: str | None, path: str = balance) -> Callable[[], Reply]:
        return lambda: client.get(path, token)

    holder = DpopClient()
    bound = issuer.token(TRAVEL, scope=READ, cnf=holder.confirmation)
    proof = holder.proof(bound, "GET", f"https://mcp.corp.example{balance}")
    proven = [("authorization", f"DPoP {bound}"), ("dpop", proof)]

    def post(agent: str, token: str) -> Callable[[], Reply]:
        return lambda: mesh.agent(agent).request("POST", pay, bearer(token), b"{}")

    return [
        Line("travel", "alice", f"GET {balance}", 200, "", "both may, the scope is there",
             get(travel, good), _saw_only_ours),
        Line("travel", "alice", f"GET {balance}", 200, "", "forged x-agent-* do not get through",
             lambda: travel.request("GET", balance, [*bearer(good), *forged_headers]),
             _saw_only_ours),
        Line("travel", "alice", f"GET {balance}", 200, "", "user -> orchestrator -> travel",
             get(travel, issuer.token(TRAVEL, scope=READ, act=chain)),
             lambda reply: reply.seen_headers("x-agent-ch") == [("x-agent-chain", ORCHESTRATOR)]),
        Line("payments", "alice", f"POST {pay}", 200, "", "a write that both were granted",
             post(PAYMENTS, issuer.token(PAYMENTS, scope="payments:write"))),
        Line("travel", "alice", f"GET {balance}", 403, "scope", "the token lacks balance:read",
             get(travel, issuer.token(TRAVEL, scope="calendar:read"))),
        Line("travel", "alice", f"POST {pay}", 403, "policy_denied", "nobody granted it this write",
             post(TRAVEL, issuer.token(TRAVEL, scope="payments:write"))),
        Line("payments", "bob", f"POST {pay}", 403, "policy_denied", "bob himself may not pay",
             post(PAYMENTS, issuer.token(
                 PAYMENTS, "bob", "payments:write", groups=["readers"]))),
        Line("payments", "alice", f"GET {balance}", 403, "actor_mismatch",
             "a token of the travel agent", get(mesh.agent(PAYMENTS), good)),
        Line("travel", "alice", f"GET {balance}", 200, "", "bound to a key, with a proof (DPoP)",
             lambda: travel.request("GET", balance, proven),
             lambda reply: not reply.seen_headers("dpop")),
        Line("travel", "alice", f"GET {balance}", 401, "dpop_proof", "the same proof again",
             lambda: travel.request("GET", balance, proven)),
        Line("travel", "alice", f"GET {balance}", 401, "pop_missing", "without its proof",
             get(travel, bound)),
        Line("travel", "-", f"GET {balance}", 401, "token_missing", "no token", get(travel, None)),
        Line("travel", "alice", f"GET {balance}", 401, "token_expired", "an hour too late",
             get(travel, issuer.token(TRAVEL, scope=READ, **_times(-7200, -3600)))),
        Line("travel", "alice", f"GET {balance}", 401, "token_issuer", "an issuer nobody trusts",
             get(travel, stranger_issuer.token(TRAVEL, scope=READ))),
        Line("travel", "alice", f"GET {balance}", 401, "token_signature", "signed with another key",
             get(travel, forger.token(
                 TRAVEL, scope=READ, header={"kid": issuer.current.key_id}))),
        Line("travel", "alice", f"GET {balance}", 401, "token_audience", "for another service",
             get(travel, issuer.token(TRAVEL, scope=READ, aud="https://other.example"))),
        Line("stranger", "alice", f"GET {balance}", 403, "agent_unknown", "never registered",
             get(mesh.agent(STRANGER), issuer.token(STRANGER, scope=READ))),
        Line("retired", "alice", f"GET {balance}", 403, "agent_suspended", "suspended",
             get(mesh.agent(RETIRED), issuer.token(RETIRED, scope=READ))),
        Line("(no SPIFFE ID)", "alice", f"GET {balance}", 0, "envoy", "a certificate without one",
             get(mesh.client(mesh.authority.issue(dns=("agent.corp.example",))), good)),
        Line("travel", "alice", "GET /public/..%2fadmin", 400, "envoy", "an escaped slash",
             get(travel, good, "/public/..%2fadmin")),
        Line("travel", "alice", "GET /public/..;/admin", 403, "policy_denied",
             "resolved to /admin before it is decided", get(travel, good, "/public/..;/admin")),
        Line("travel", "alice", "GET /public/a;v=1", 400, "path_ambiguous",
             "some servers cut at the ;", get(travel, good, "/public/a;v=1")),
        Line("travel", "alice", f"GET {balance}", 200, "", "a rotated key, its first use",
             lambda: travel.get(balance, _rotated(issuer))),
    ]  # fmt: skip


def _times(issued: int, expires: int) -> dict[str, Any]:
    now = int(time.time())
    return {"iat": now + issued, "exp": now + expires}


def _rotated(issuer: Issuer) -> str:
    time.sleep(1.0)  # the cooldown that the demo's config sets between fetches
    issuer.rotate()
    return issuer.token(TRAVEL, scope=READ)


def _saw_only_ours(reply: Reply) -> bool:
    """Tell whether the upstream received exactly the identity headers that were decided."""
    seen = dict(reply.seen_headers("x-agent-"))
    expected = {"x-agent-id": TRAVEL, "x-agent-principal": "alice", "x-agent-issuer": lab.ISSUER}
    no_token = not reply.seen_headers("authorization")
    return no_token and expected.items() <= seen.items() and "x-agent-chain" not in seen


def keep(mesh: Mesh) -> None:
    """Leave everything up, with commands to try, until Ctrl-C."""
    svid = mesh.authority.issue(TRAVEL)
    token = mesh.folder / "token"
    scope = f"{READ} {trips.READ} {trips.BOOK}"
    both = [lab.AUDIENCE, trips.RESOURCE]
    token.write_text(mesh.issuer.token(TRAVEL, scope=scope, aud=both, **_times(0, 36000)))
    curl = (
        f"curl -s --cacert {mesh.authority.path} --cert {svid.certificate_path} "
        f"--key {svid.key_path} -H 'host: mcp.corp.example'"
    )
    authorized = f'{curl} -H "authorization: Bearer $(cat {token})"'
    origin = f"https://localhost:{mesh.envoy.port}"
    url = f"{origin}/finance/balance"
    print(f"\nStill running; Ctrl-C stops it all. Try:\n  {curl} {url}")
    print(f"  {authorized} {url}")
    print(f"  {authorized} -X DELETE {url}")
    json = "-H 'content-type: application/json' -H 'accept: application/json, text/event-stream'"
    call = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"delete_trip"}}'
    print(f"  {authorized} {json} -d '{call}' {origin}{trips.PATHS['stateless']}")
    metadata = f"https://localhost:{mesh.sts.port}/.well-known/oauth-authorization-server"
    print(f"  curl -s --cacert {mesh.authority.path} {metadata}")
    print(f"  curl -s {mesh.servers[0].admin}/metrics | grep authz_decisions_total")
    print(f"  tail -f {mesh.servers[0].audit}")
    sys.stdout.flush()
    signal.pause()


def main() -> int:
    """Set up, tell the story, stop everything; return 0 only if all went as expected."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    folder = Path(tempfile.mkdtemp(prefix="authz-demo-"))
    begun = time.monotonic()
    try:
        with Mesh(folder, with_mcp=True, with_sts=True) as mesh:
            print(f"Envoy, agent-authz, issuer and upstreams are up ({_since(begun)}).\n")
            colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
            acts = {
                "": story(mesh),
                "An MCP server, called with the client of the official SDK:": demo_mcp.story(mesh),
                "Delegations by authz sts, handed on from agent to agent:": demo_sts.story(mesh),
            }
            expected, total = _played(acts, colours=colours), sum(map(len, acts.values()))
            mesh.check_alive()  # a part that died is the reason, not the rows that it spoilt
            print(f"\n{expected} of {total} as expected")
            if os.environ.get("KEEP"):
                keep(mesh)
    except (ProcessError, EnvoyMissingError) as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.")
        return 1
    else:
        return 0 if expected == total else 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _played(acts: Mapping[str, Sequence[Line]], *, colours: bool) -> int:
    """Tell the acts, each below its title, and count the lines that ended as expected."""
    expected = 0
    for title, lines in acts.items():
        if title:
            print(f"\n{title}\n")
        expected += tell(lines, colours=colours)
    return expected


def _since(begun: float) -> str:
    return f"{time.monotonic() - begun:.1f} s"


if __name__ == "__main__":
    sys.exit(main())
