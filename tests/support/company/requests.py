"""Random requests: aimed at a rule that the agent and the principal both hold."""

import random
from collections.abc import Iterator
from typing import Any

from support.company import vendors
from support.company.approvals import approve
from support.company.messages import a2a_message, mcp_message, model_message
from support.company.names import (
    AGENTS,
    AUDIENCE,
    CLIENTS,
    CORP,
    LEGACY_ISSUER,
    PARTNER_ISSUER,
    STAFF_ISSUER,
    STATUSES,
    STRANGER,
    SUSPENDED,
    agent,
    people,
    words,
)
from support.docs_model import Asked, Config, Refused, Rule, Token
from support.docs_model import conditions as when
from support.docs_model.decide import find_route, takes_svid_alone
from support.docs_model.paths import id_fits, read_path
from support.docs_model.policy import agent_entries, is_meant, rules_of

Claims = dict[str, Any]

SEGMENTS = words(
    "7 42 abc A-b_c~d x.y locked prod secret %41bc %C3%BC items a@b a:b %20x secure drafts"
)
# What shows that a person is behind a token.
OF_PERSONS: list[Claims] = [
    {"amr": ["pwd"]},
    {"sub_profile": "user"},
    {"idtyp": "user"},
    {"sid": "s-1", "preferred_username": "somebody"},
    {"grant_type": "authorization_code"},
]
ABOUT_PEOPLE = ("groups", "roles", "department", "org", "realm_access")


def users(people: list[Claims]) -> list[Claims]:
    """Some of the people, as users of vendors' issuers."""
    urls = [vendors.URLS[vendor] for vendor in vendors.OF_USERS]
    return [one | {"iss": urls[n % len(urls)]} for n, one in enumerate(people[100:1000])]


class Requests:
    """Makes requests of a company's agents."""

    def __init__(self, config: Config, r: random.Random) -> None:
        """Take the config, whose rules are what is aimed at."""
        self._config = config
        self._r = r
        self._people = [*people(), *users(people())]

    def aimed(self, now: float) -> Asked:
        """A request that a rule may well allow at a time."""
        r = self._r
        if r.random() < 0.05:
            return self._bare()
        name, person, rule = self._pick()
        method = r.choice(rule["methods"])
        asked = Asked(
            agent=name,
            method=r.choice(["GET", "POST", "PUT", "DELETE", "HEAD"]) if method == "*" else method,
            host=self._host(r.choice(rule["hosts"])),
            path=self._path(r.choice(rule["paths"])),
            token=self._token(name, person, rule, int(now)),
        )
        for header, values in rule.get("headers", {}).items():
            asked.headers[header] = r.choice(values).replace("*", "red")
        if rule.get("when") == when.HEADER:
            asked.headers["x-env"] = "prod"
        elif r.random() < 0.2:
            asked.headers["x-env"] = r.choice(["prod", "stage", "dev"])
        if r.random() < 0.1:
            asked.path += "?q=1&x=a/../b"
        for key, fill in (("mcp", mcp_message), ("a2a", a2a_message), ("models", model_message)):
            if key in rule:
                fill(r, rule, asked)
        self._suit_route(asked, int(now))
        if "approval" in rule:
            approve(self._r, rule, asked)
        return asked

    def _bare(self) -> Asked:
        """A request without a token, of an agent for itself."""
        r = self._r
        rule = r.choice(self._config["grants"]["own-run"])
        path = self._path(r.choice(rule["paths"]))
        return Asked(r.choice(AGENTS), r.choice(rule["methods"]), rule["hosts"][0], path, None)

    def _pick(self) -> tuple[str, Claims, Rule]:
        """An agent, a person and a rule that both hold."""
        while True:
            name, person = self._r.choice(AGENTS), self._r.choice(self._people)
            if self._r.random() < 0.1:
                name, person = vendors.itself(self._r)
            of_legacy = person["iss"] == LEGACY_ISSUER and not name.startswith(f"spiffe://{CORP}")
            if (name in SUSPENDED or of_legacy) and self._r.random() < 0.95:
                continue
            rules = list(self._common(name, person))
            if rules:
                kinds = ["".join({"mcp", "a2a", "models"} & set(rule)) for rule in rules]
                kind = self._r.choice(sorted(set(kinds)))  # each as often, if few rules are of it
                fitting = [r for r, k in zip(rules, kinds, strict=True) if k == kind]
                return name, person, self._r.choice(fitting)

    def _common(self, name: str, person: Rule) -> Iterator[Rule]:
        """The rules that allow, of grants that the agent and the person both hold."""
        agents = agent_entries(self._config, name)
        principals = [
            entry
            for entry in self._config["principals"]
            if is_meant(entry, person) == "yes" and id_fits(entry.get("agents", [name]), name)
        ]
        if any(entry.get("suspended") for entry in principals) and self._r.random() < 0.95:
            return
        held = [
            [rule for rule in rules_of(self._config, entries) if rule.get("effect") != "deny"]
            for entries in (agents, principals)
        ]
        frees = [any(e.get("unrestricted") for e in side) for side in (agents, principals)]
        for rule in (*held[0], *held[1]):
            if all(free or rule in rules for free, rules in zip(frees, held, strict=True)):
                yield rule

    def _host(self, pattern: str) -> str:
        """A host that fits a pattern."""
        front, dot, domain = pattern.partition(".")
        some = {"*": ["t1", "eu-2"], "**": ["t1", "t1.eu", "a.b.c"]}
        return self._r.choice(some.get(front, [front])) + dot + domain

    def _path(self, pattern: str) -> str:
        """A path that fits a pattern."""
        made: list[str] = []
        for segment in pattern[1:].split("/"):
            if segment == "**":
                made += self._r.choices(SEGMENTS, k=self._r.choice([0, 1, 1, 2, 3]))
                made += [""] * (self._r.random() < 0.1)
            else:
                is_any = segment == "*" or segment.startswith("{")
                made.append(self._r.choice(SEGMENTS) if is_any else segment)
        return "/" + "/".join(made)

    def _token(self, name: str, person: Claims, rule: Rule, now: int) -> Token:
        """A token that suits the rule, most often."""
        r = self._r
        is_partner = person["iss"] == PARTNER_ISSUER
        old = [0, 5, 60, 200, 500, 800, 2000]
        claims = person | {
            "aud": r.choice([AUDIENCE, [AUDIENCE, "other"]]),
            "client_id": "shell",
            "iat": now - (10 if "max_token_age" in rule else r.choice(old)),
            "exp": now + 3000,
            "jti": f"{r.getrandbits(64):x}",
        }
        if r.random() < 0.3 or "acr_values" in rule:
            claims["acr"] = r.choice(rule.get("acr_values", ["mfa", "pwd", "phr"]))
        if r.random() < 0.4 or "max_age" in rule:
            claims["auth_time"] = now - (60 if "max_age" in rule else r.choice([300, 900, 9000]))
        scopes = {*rule.get("scopes", [])}
        if r.random() < 0.5:
            scopes.add(r.choice(["profile", "base", "legacy:all", "x:admin", "orders:read"]))
        if r.random() < 0.7:
            self._suit_condition(rule.get("when", ""), claims, scopes)
        words = r.sample(sorted(scopes), len(scopes))
        if person["iss"] in vendors.VENDORS:
            return vendors.token(r, claims, words, name)
        as_list = is_partner and r.random() < 0.5
        claims["scp" if is_partner else "scope"] = words if as_list else " ".join(words)
        if is_partner:
            claims["azp"] = next(client for client, mapped in CLIENTS.items() if mapped == name)
            claims |= r.choice(OF_PERSONS)
            if r.random() < 0.1:
                claims["act"] = {"sub": r.choice([name, claims["azp"]])}
        else:
            claims["act"] = self._act(name, rule)
        token = Token(claims, typ=r.choice(["at+jwt", "JWT"]) if is_partner else "at+jwt")
        if claims["iss"] == STAFF_ISSUER and r.random() < 0.3:
            uri = self._config["issuers"][0]["status_list"]["uris"][0].replace("*", "1")
            at = r.randrange(0, len(STATUSES), 4)
            claims["status"] = {"status_list": {"idx": at, "uri": uri}}
            token.statuses = STATUSES
        return token

    def _suit_condition(self, condition: str, claims: Claims, scopes: set[str]) -> None:
        """Change claims so that the condition holds."""
        if condition in (when.LEVEL, when.GETS):
            claims["level"] = 5
        if condition == when.REGION:
            claims["region"] = "eu"
        if condition == when.FINANCE:
            claims["groups"] = [*claims.get("groups", []), "finance"]
        if condition == when.ADMIN:
            scopes.add("any:admin")

    def _act(self, name: str, rule: Rule) -> Claims:
        """The agent, and at times those who acted before it."""
        r = self._r
        earlier: list[str] = []
        if rule.get("via") and r.random() < 0.6:
            earlier = [r.choice([agent(0), AGENTS[20], agent(5)])]
        elif "via" not in rule and r.random() < 0.25:
            earlier = r.sample([*AGENTS, STRANGER], r.choice([1, 1, 2]))
        act: Claims | None = None
        for actor in reversed([name, *earlier]):
            act = {"sub": actor} | ({"act": act} if act else {})
        return act or {}

    def _suit_route(self, asked: Asked, now: int) -> None:
        """Change the token so that the route takes it."""
        r = self._r
        try:
            segments, _ = read_path(asked.path)
        except Refused:
            return
        route = find_route(self._config, asked.host, segments, "")
        if asked.token is None or r.random() < 0.2:
            return
        claims = asked.token.claims
        if "resource" in route:
            claims["aud"] = r.choice([route["resource"], *route.get("audiences", [])])
        if "acr_values" in route:
            claims |= {"acr": "mfa", "auth_time": now - 100}
        if takes_svid_alone(route) and r.random() < 0.3:
            asked.token = None
        may_be_alone = claims["iss"] == STAFF_ISSUER and "autonomous" in route.get("modes", [])
        if may_be_alone and r.random() < 0.5:
            for name in ABOUT_PEOPLE:
                claims.pop(name, None)
            claims |= {"sub": asked.agent, "act": {"sub": asked.agent}}
            if r.random() < 0.5:
                del claims["act"]
        if "bootstrap" in route and r.random() < 0.2:
            asked.token = None
