"""The company's config: who holds which grants, on which routes, by whose tokens."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.company import vendors
from support.company.grants import denies, grants
from support.company.names import (
    A2A,
    AGENTS,
    APPROVAL,
    AUDIENCE,
    CLIENTS,
    CORP,
    DEPARTMENTS,
    GROUPS,
    LAB,
    LEGACY_ISSUER,
    MCP,
    MODELS,
    OPS,
    PARTNER,
    PARTNER_ISSUER,
    ROLES,
    STAFF_ISSUER,
    SUSPENDED,
    UNRESTRICTED,
    agent,
    host,
)

Entry = dict[str, Any]

DOCS = "https://docs.corp.example/v1"
LEGAL = "https://legal.corp.example/"


def company_config(folder: Path, seed: int) -> dict[str, Any]:
    """A config file's content; its keys, socket and audit log are in the folder."""
    r = random.Random(seed)
    allowing = grants(r)
    every = allowing | denies()
    for rules in every.values():
        for rule in rules:
            rule |= {"description": "made", "owner": "platform@corp.example"}
    return {
        "server": {"listen": f"unix:{folder / 'authz.sock'}"},
        "admin": {"listen": "127.0.0.1:0"},
        "trust_domains": [CORP, PARTNER],
        "profiles": {"default": {"certificate": "required"}},
        "issuers": issuers(folder),
        "agents": agents(r, list(allowing)),
        "principals": principals(r, list(allowing)),
        "grants": every,
        "routes": routes(),
        "earlier_actors": {"suspended": "deny"},
        "conditions": {
            "headers": ["x-env"],
            "claims": ["level", "region", "groups", "clearance", "acr"],
        },
        "audit": {"path": str(folder / "audit.jsonl")},
    }


def write_config(folder: Path, config: dict[str, Any]) -> Path:
    """The config as a file: JSON is YAML, and has no aliases."""
    path = folder / "authz.yaml"
    path.write_text(json.dumps(config, indent=1))
    return path


def issuers(folder: Path) -> list[Entry]:
    """One for staff, one with mapped actors, one of few rights, and those of vendors."""
    found: list[Entry] = [
        {
            "issuer": STAFF_ISSUER,
            "audiences": [AUDIENCE, DOCS, "legal", LEGAL],
            "approval_types": [APPROVAL],
        },
        {
            "issuer": PARTNER_ISSUER,
            "audiences": [AUDIENCE, "legal"],
            "scope_claim": "scp",
            "typ": ["at+jwt", "JWT"],
            "actor": {"claim": "azp", "map": CLIENTS},
        },
        {
            "issuer": LEGACY_ISSUER,
            "audiences": [AUDIENCE],
            "actors_from": [CORP],
            "max_actors": 2,
            "max_lifetime": "2h",
        },
    ]
    found += vendors.issuers()
    for number, issuer in enumerate(found):
        issuer["keys"] = {"file": str(folder / f"keys-{number}.json")}
    return found


def agents(r: random.Random, allowing: list[str]) -> list[Entry]:
    """Most by their ID, some by patterns only, many by both."""
    entries: list[Entry] = []
    for name in AGENTS:
        entry: Entry = {"id": name, "owner": "team@corp.example"}
        entry |= {"grants": r.sample(allowing, r.randint(12, 26))}
        if name in UNRESTRICTED:
            entry = {"id": name, "unrestricted": True}
        if name in SUSPENDED:
            entry["suspended"] = True
        entries.append(entry)
    few = ["orders-read", "crm-read", "travel-mcp-use"]
    first = f"spiffe://{CORP}/ns/lab/team1/sa/*"
    return [
        *(entry for entry in entries if entry["id"] not in (AGENTS[22], AGENTS[35])),
        {
            "id": f"spiffe://{CORP}/ns/agents/sa/*",
            "grants": ["deny-files", "deny-payroll", "deny-huge", "own-run"],
        },
        {"id": OPS, "grants": [*few, "deny-models", "deny-push", "own-run"]},
        {"id": LAB, "grants": ["llm-small", "files-mcp-power", "deny-chain", "deny-weak"]},
        {"id": f"spiffe://{PARTNER}/**", "grants": [*few, "deny-legacy", "deny-deep"]},
        {"id": first, "unrestricted": True, "grants": ["deny-prod", "deny-junior"]},
    ]


def principals(r: random.Random, allowing: list[str]) -> list[Entry]:
    """By groups, roles, claims and names."""

    def some(number: int) -> list[str]:
        return r.sample(allowing, number)

    def entry(issuer: str, grants: list[str], **match: Any) -> Entry:
        agents = match.pop("agents", None)
        made: Entry = {"match": {"issuer": issuer} | match, "grants": grants}
        return made | ({"agents": agents} if agents else {})

    of_groups = [
        entry(STAFF_ISSUER, some(r.randint(10, 20)), groups=[group], agents=r.choice(teams(r)))
        for group in GROUPS
    ]
    of_groups += [entry(PARTNER_ISSUER, some(14), groups=[group]) for group in GROUPS[::2]]
    more = sorted(denies())
    of_claims = [
        entry(r.choice([STAFF_ISSUER, LEGACY_ISSUER]), [*some(12), r.choice(more)], roles=[role])
        for role in ROLES
    ]
    of_claims += [
        entry(STAFF_ISSUER, [*some(8), r.choice(more)], claims={"department": [department]})
        for department in DEPARTMENTS
    ]
    by_name = [
        entry(STAFF_ISSUER, some(10), subjects=[f"u{n:04}", f"u{n + 1:04}"])
        for n in range(0, 1200, 12)
    ]
    by_name += [
        entry(PARTNER_ISSUER, [*some(16), r.choice(more)], subjects=[f"u{n:04}"])
        for n in range(1200, 1700, 25)
    ]
    return [*of_groups, *of_claims, *by_name, *special(some), *vendors.principals(some)]


def teams(r: random.Random) -> list[list[str] | None]:
    """Through which agents an entry may count: mostly through any."""
    return [None, None, None, None, [*r.sample(AGENTS, 12), OPS]]


def special(some: Callable[[int], list[str]]) -> list[Entry]:
    """Entries of which each is about one thing."""

    def match(issuer: str, **more: Any) -> Entry:
        return {"issuer": issuer} | more

    cleared = {"level": [4, 5], "clearance": [True]}
    blue = {"/org/tenant": ["blue"]}
    super_ = {"/realm_access/roles": ["super"]}
    few = ["search-read", "docs-read", "travel-mcp-use", "deny-stage", "llm-small"]
    itself = [f"spiffe://{CORP}/ns/agents/sa/*"]
    guests = match(STAFF_ISSUER, roles=["guest"], groups=["marketing"])
    contractors = match(STAFF_ISSUER, groups=["contractors"])
    barred = match(PARTNER_ISSUER, roles=["barred"])
    execs = match(STAFF_ISSUER, groups=["execs"])
    apac = match(STAFF_ISSUER, claims={"region": ["apac"]})
    return [
        {"match": match(STAFF_ISSUER, claims=cleared), "grants": some(30)},
        {"match": match(STAFF_ISSUER, claims=super_), "unrestricted": True},
        {"match": match(LEGACY_ISSUER, claims=blue, groups=GROUPS[::3]), "grants": some(40)},
        {"match": match(PARTNER_ISSUER, claims={"clearance": ["true"]}), "grants": some(30)},
        {"match": match(STAFF_ISSUER), "grants": ["deny-prod", "deny-deep"]},
        {"match": match(LEGACY_ISSUER), "grants": few},
        {"match": apac, "suspended": True, "agents": [agent(3), AGENTS[20]]},
        {"match": match(STAFF_ISSUER, groups=["interns"]), "grants": ["deny-junior"]},
        {"match": contractors, "agents": [f"spiffe://{PARTNER}/**"], "grants": some(40)},
        {"match": guests, "suspended": True},
        {"match": barred, "grants": ["deny-stage", "deny-files"], "if_absent": "deny"},
        {"match": match(PARTNER_ISSUER, subjects=["u1203", "u1204"]), "suspended": True},
        {"match": match(STAFF_ISSUER, subjects=itself), "grants": some(50)},
        {"match": match(f"spiffe://{CORP}"), "grants": ["deny-deep"]},
        {"match": match(f"spiffe://{CORP}", subjects=[agent(6)]), "suspended": True},
        {"match": match(f"spiffe://{CORP}", subjects=[agent(7)]), "grants": some(9)},
        {"match": match(STAFF_ISSUER, subjects=[OPS, "u0007"]), "grants": some(50)},
        {"match": execs, "unrestricted": True, "agents": AGENTS[:9]},
    ]


def routes() -> list[Entry]:
    """Paths that may be odd, audiences, step-up, modes; and one for each service of messages."""
    git = ["escaped_slash", "double_encoding", "escaped_dot"]
    docs = ["parameters", "empty_segments", "escaped_number_sign", "escaped_question_mark"]
    pay = {"paths": ["/v1/*/secure/**", "/v1/billing/{id}"], "acr_values": ["mfa", "phr"]}
    found: list[Entry] = [
        {"name": "git", "hosts": [host("git"), f"*.{host('git')}"], "accept_ambiguous": git},
        {"name": "docs", "hosts": [f"**.{host('docs')}", host("docs")], "accept_ambiguous": docs}
        | {"resource": DOCS},
        {"name": "pay", "hosts": [host("billing"), host("payroll")], "max_age": "1h"} | pay,
        {"name": "legal", "hosts": [host("legal")], "resource": LEGAL, "audiences": ["legal"]},
        {"name": "nightly", "hosts": [host("deploy")], "modes": ["autonomous", "delegated"]},
        {"name": "auto", "hosts": [host("audit")], "modes": ["autonomous"]},
        {"name": "named", "hosts": ["nowhere.corp.example"], "max_age": "10m"},
    ]
    protocols = {"mcp": MCP, "a2a": A2A, "openai": MODELS}
    found += [
        {"name": service, "hosts": [host(service)], "protocol": protocol}
        for protocol, services in protocols.items()
        for service in services
    ]
    for route in found:
        if route["name"] in MCP[::3]:
            route["bootstrap"] = ["initialize", "notifications/initialized", "tools/list"]
            route["refusals"] = "message"
    return found
