"""The demo's third act: delegations of our own token service, narrower at each hop, and a yes."""

import json
import subprocess
import sys
import time
from typing import Any, Final

from lab import mesh as lab
from lab import trips
from lab.ca import Svid
from lab.client import Client, Reply, bearer
from lab.demo_mcp import call_of, headers_of
from lab.issuer import claims_of
from lab.mesh import ORCHESTRATOR, PAYMENTS, STRANGER, TRAVEL, Mesh
from lab.processes import POLL_SECONDS
from lab.sts import (
    ACCESS_TOKEN,
    ASK,
    DESK,
    DESK_PATH,
    FRONT_END,
    ID_TOKEN,
    TokenService,
    ask,
    token_of,
)
from lab.table import Line

READ: Final = "balance:read"
BALANCE: Final = "/finance/balance"
AT_FIRST: Final = {"sub": ORCHESTRATOR}
AT_LAST: Final = {"sub": TRAVEL, "act": AT_FIRST}
COUNTS_SECONDS: Final = 30.0  # a consent counts within a second; on a busy machine it may not
_ACCEPT: Final = ("accept", "application/json, text/event-stream")


class Hops:
    """The agents, each with one SVID for all that it does, and the tokens that they have so far."""

    def __init__(self, mesh: Mesh) -> None:
        """Begin with Alice's login at the orchestrator: an ID token (OpenID Connect)."""
        self._mesh = mesh
        self._svids: dict[str, Svid] = {}
        self.tokens = {"login": mesh.issuer.id_token(FRONT_END)}
        self.approval: dict[str, Any] = {}

    def svid(self, agent: str) -> Svid:
        """Return the agent's SVID, always the same."""
        if agent not in self._svids:
            self._svids[agent] = self._mesh.authority.issue(agent)
        return self._svids[agent]

    def exchange(self, agent: str, given: str, got: str, **form: str) -> Reply:
        """Have an agent exchange the token of a name; the new token gets another name."""
        kind = ID_TOKEN if given == "login" else ACCESS_TOKEN
        reply = ask(self._mesh.sts.client(self.svid(agent)), self.tokens[given], kind, **form)
        if reply.status == 200:
            self.tokens[got] = token_of(reply)
        return reply

    def exchange_unknown(self, given: str) -> Reply:
        """Ask as a client without a certificate."""
        return ask(self._mesh.sts.client(None), self.tokens[given])

    def exchange_approved(self, **changes: object) -> Reply:
        """Ask for a token that names the call which was refused, or another."""
        arguments = {**self.approval["arguments"], **changes}
        details = json.dumps([{**self.approval, "arguments": arguments}])
        form = {"audience": trips.RESOURCE, "scope": trips.BOOK}
        return self.exchange(TRAVEL, "first", "approved", authorization_details=details, **form)

    def client(self, agent: str) -> Client:
        """Return the client of an agent for Envoy."""
        return self._mesh.client(self.svid(agent))

    def hand_on(self) -> Reply:
        """Have the orchestrator call the travel agent, which gets the token by the call."""
        reply = self.client(ORCHESTRATOR).request(
            "POST", DESK_PATH, bearer(self.tokens["first"]), b"{}"
        )
        if reply.status == 200:
            [(_, value)] = reply.seen_headers("authorization")
            self.tokens["received"] = value.removeprefix("Bearer ")
        return reply

    def balance(self, agent: str, token: str) -> Reply:
        """Have an agent read the balance."""
        return self.client(agent).get(BALANCE, self.tokens[token])

    def book(self, token: str, price: int) -> Reply:
        """Have the travel agent book a trip; a refusal says which approval is missing."""
        headers = [*bearer(self.tokens[token]), *headers_of("tools/call", "book_trip").items()]
        body = call_of("book_trip", {"to": "Bern", "price": price})
        fields = [("content-type", "application/json"), _ACCEPT, *headers]
        reply = self.client(TRAVEL).request("POST", trips.PATHS["stateless"], fields, body)
        if reply.reason == "approval_required" and not self.approval:
            [self.approval] = json.loads(reply.body)["error"]["data"]["authorization_details"]
        return reply

    def consented(self) -> Reply:
        """Have Alice consent to the call that was refused, and ask again until that counts."""
        consent(self._mesh.sts, self.approval)
        end = time.monotonic() + COUNTS_SECONDS
        while (reply := self.exchange_approved()).status != 200 and time.monotonic() < end:
            time.sleep(POLL_SECONDS)
        return reply


def story(mesh: Mesh) -> list[Line]:
    """Yield the requests, in order: each needs what those before it got."""
    hops = Hops(mesh)
    spends, finance = {"audience": trips.RESOURCE}, {"audience": lab.AUDIENCE}

    def line(who: str, *rest: Any) -> Line:  # noqa: ANN401 - the fields of a Line
        return Line(who, "alice", *rest)

    return [
        line("orchestrator", "a token for the desk", 200, "", "Alice's login, exchanged",
             lambda: hops.exchange(ORCHESTRATOR, "login", "first"),
             lambda reply: _is(reply, AT_FIRST, DESK, f"{READ} {ASK} {trips.BOOK} {trips.READ}")),
        line("travel", "a token for the desk", 400, "invalid_request", "the login is not for it",
             lambda: hops.exchange(TRAVEL, "login", "none", audience=DESK)),
        line("stranger", "a token for the desk", 400, "unauthorized_client", "never registered",
             lambda: hops.exchange(STRANGER, "login", "none")),
        line("(no SVID)", "a token for the desk", 401, "invalid_client", "nobody, so no actor",
             lambda: hops.exchange_unknown("first")),
        line("orchestrator", f"POST {DESK_PATH}", 200, "", "hands on: the desk gets the token",
             hops.hand_on),
        line("travel", "a token for finance", 200, "", "narrower, and the chain grows",
             lambda: hops.exchange(TRAVEL, "received", "finance", scope=READ, **finance),
             lambda reply: _is(reply, AT_LAST, lab.AUDIENCE, READ)),
        line("travel", f"GET {BALANCE}", 200, "", "travel <- orchestrator, asserted to the service",
             lambda: hops.balance(TRAVEL, "finance"), _asserted),
        line("payments", f"GET {BALANCE}", 403, "actor_mismatch", "the token is travel's alone",
             lambda: hops.balance(PAYMENTS, "finance")),
        line("travel", f"GET {BALANCE}", 401, "token_audience", "what it received is for the desk",
             lambda: hops.balance(TRAVEL, "received")),
        line("payments", "a token for finance", 400, "unauthorized_client", "no rule lets it go on",
             lambda: hops.exchange(PAYMENTS, "received", "none", **finance)),
        line("travel", "a token to pay", 400, "invalid_scope", "wider than what it received",
             lambda: hops.exchange(
                 TRAVEL, "received", "none", scope="payments:write", **finance)),
        line("travel", "a token for trips", 200, "", "another service, another token",
             lambda: hops.exchange(TRAVEL, "received", "trips", scope=trips.BOOK, **spends)),
        line("travel", "book_trip, price 480", 200, "", "at most 500: nobody is asked",
             lambda: hops.book("trips", 480)),
        line("travel", "book_trip, price 620", 403, "approval_required", "over 500: Alice decides",
             lambda: hops.book("trips", 620)),
        line("travel", "a token for that call", 400, "consent_required", "she has not said yes",
             hops.exchange_approved),
        line("travel", "a token for that call", 200, "", "she has: authz consent, for this call",
             hops.consented),
        line("travel", "a token for price 6200", 400, "consent_required", "another call",
             lambda: hops.exchange_approved(price=6200)),
        line("travel", "book_trip, price 6200", 403, "approval_required", "another call",
             lambda: hops.book("approved", 6200)),
        line("travel", "book_trip, price 620", 200, "", "the call to which she said yes",
             lambda: hops.book("approved", 620)),
        line("travel", "book_trip, price 620", 403, "approval_required", "her yes was for one call",
             lambda: hops.book("approved", 620)),
        line("travel", "a token for that call", 400, "consent_required", "and for one token",
             hops.exchange_approved),
    ]  # fmt: skip


def consent(sts: TokenService, call: dict[str, Any], *flags: str) -> None:
    """Let Alice consent to one call, by the verb, with more flags. Raises CalledProcessError."""
    command = [
        *(sys.executable, "-m", "authz", "consent", str(sts.config)),
        *("--issuer", lab.ISSUER, "--subject", "alice", "--agent", TRAVEL),
        *("--audience", trips.RESOURCE, "--scope", trips.BOOK, "--for", "10m"),
        *("--details", json.dumps(call), *flags),
    ]
    subprocess.run(command, check=True, capture_output=True)


def _is(reply: Reply, act: dict[str, Any], audience: str, scope: str) -> bool:
    """Tell whether the token names Alice, these actors, this audience and these scopes alone."""
    claims = claims_of(token_of(reply))
    told = tuple(claims.get(name) for name in ("sub", "act", "aud", "scope"))
    return told == ("alice", act, audience, scope)


def _asserted(reply: Reply) -> bool:
    """Tell whether the service got the assertion in place of the token, with the same actors."""
    [(_, assertion)] = reply.seen_headers("x-agent-assertion")
    claims = claims_of(assertion)
    return claims["act"] == AT_LAST and not reply.seen_headers("authorization")
