"""Who and what there is in the company: services, agents, issuers, groups, people."""

import random
from typing import Any


def words(text: str) -> list[str]:
    """A list of words."""
    return text.split()


CORP = "corp.example"
PARTNER = "partner.example"
STAFF_ISSUER = "https://as.corp.example"
STATUSES = (0, 1, 2, 3) * 16  # of the status list of staff: a fourth of its tokens count
PARTNER_ISSUER = "https://login.partner.example"
LEGACY_ISSUER = "https://legacy.corp.example"
AUDIENCE = "https://api.corp.example"

REST = words(
    "crm orders billing payroll inventory shipping search docs git hr legal tickets calendar mail"
    " metrics deploy pricing audit notes"
)
MCP = ["travel-mcp", "files-mcp", "db-mcp", "code-mcp", "pay-mcp", "web-mcp"]
A2A = ["helper-a2a", "planner-a2a", "notary-a2a"]
MODELS = ["llm", "llm-eu", "embed"]
SERVICES = [*REST, *MCP, *A2A, *MODELS]
TOOLS = words(
    "search_trips book_trip get_trip get_price list_files read_file write_file delete_file query"
    " drop_admin pay refund get_balance run browse user_admin"
)

GROUPS = words(
    "finance sales engineering legal hr support ops security marketing treasury travelers"
    " contractors interns data platform eu-staff us-staff oncall auditors execs"
)
APPROVAL = "https://corp.example/authz/call"
ROLES = ["reader", "writer", "admin", "approver", "oncall", "auditor", "bot", "guest"]
DEPARTMENTS = ["treasury", "platform", "retail", "research", "field"]


def agent(number: int) -> str:
    """An agent of the first team."""
    return f"spiffe://{CORP}/ns/agents/sa/a{number:02}"


AGENTS = [
    *(agent(number) for number in range(18)),
    *(f"spiffe://{CORP}/ns/ops/sa/o{number}" for number in range(7)),
    *(f"spiffe://{CORP}/ns/lab/team{number % 2}/sa/l{number}" for number in range(5)),
    *(f"spiffe://{PARTNER}/agents/p{number}" for number in range(10)),
]
OPS = f"spiffe://{CORP}/ns/ops/sa/*"
LAB = f"spiffe://{CORP}/ns/lab/**"
STRANGER = f"spiffe://{CORP}/ns/new/sa/x"
SUSPENDED = [agent(9), f"spiffe://{PARTNER}/agents/p3"]
UNRESTRICTED = [agent(4), f"spiffe://{CORP}/ns/ops/sa/o1"]
CLIENTS = {f"client-{number}": name for number, name in enumerate(AGENTS)}


def host(service: str) -> str:
    """The host of a service."""
    return f"{service}.corp.example"


def people() -> list[dict[str, Any]]:
    """The claims of 2,000 people, of three issuers; some have a namesake at another."""
    r = random.Random(7)
    return [person(r, number) for number in range(2000)]


def person(r: random.Random, number: int) -> dict[str, Any]:
    """The claims of one, some of them odd."""
    issuer = LEGACY_ISSUER if number >= 1700 else PARTNER_ISSUER
    claims: dict[str, Any] = {
        "sub": f"u{number:04}",
        "iss": issuer if number >= 1200 else STAFF_ISSUER,
    }
    if number == 42:
        claims["sub"] = "ünï%code"
    if number >= 1700 and number % 10 == 0:
        claims["sub"] = f"u{number - 1700:04}"
    some: dict[str, tuple[float, Any]] = {
        "groups": (0.95, r.sample(GROUPS, r.choice([1, 2, 2, 3]))),
        "roles": (0.5, r.sample(ROLES, r.choice([1, 1, 2]))),
        "department": (0.6, r.choice(DEPARTMENTS)),
        "level": (0.85, r.choice([1, 2, 3, 4, 5] * 3 + [0, "3"])),
        "region": (0.7, r.choice(["eu", "us", "apac"])),
        "clearance": (0.5, r.choice([True, False, "true"])),
        "org": (0.4, {"tenant": r.choice(["blue", "red"])}),
        "realm_access": (0.03, {"roles": r.choice([["super"], ["other"]])}),
    }
    claims |= {name: value for name, (share, value) in some.items() if r.random() < share}
    if r.random() < 0.03:
        claims["groups"] = "finance"  # a list of one, as some issuers write it
    return claims
