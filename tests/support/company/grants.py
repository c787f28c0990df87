"""The company's grants: three for each service, with random limits, and denies for many."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

from support.company.names import (
    A2A,
    AGENTS,
    APPROVAL,
    LAB,
    MCP,
    MODELS,
    OPS,
    REST,
    TOOLS,
    agent,
    host,
)
from support.docs_model import conditions as when

Rule = dict[str, Any]
Grants = dict[str, list[Rule]]

COMMON = [when.LEVEL, when.REGION, when.HEADER, when.SEGMENT, when.DEPTH]
REST_CONDITIONS = [*COMMON, when.FINANCE, when.SHORT, when.ADMIN]
MCP_CONDITIONS = [when.AMOUNT, when.CURRENCY, when.GETS, when.LEVEL]
A2A_CONDITIONS = [when.TENANT, when.LEVEL]
MODEL_CONDITIONS = [when.COOL, when.NO_STREAM]


def windows() -> list[dict[str, Any]]:
    """Windows of which some are open now, whenever that is."""
    now = datetime.now(UTC)

    def days(number: int) -> str:
        return (now + timedelta(days=number)).isoformat(timespec="seconds")

    office = {"hours": "08:00-18:00", "days": ["mon", "tue", "wed", "thu", "fri"]}
    night = {"hours": "22:00-06:00", "zone": "Australia/Sydney"}
    return [
        office | {"zone": "Europe/Berlin"},
        office | {"zone": "America/New_York"},
        {"hours": "08:00-18:00", "zone": "Asia/Tokyo"},
        night | {"days": ["wed", "thu", "sat"]},
        night | {"days": ["thu", "fri"]},
        {"days": ["sat", "sun"]},
        {"days": ["mon", "wed", "fri"]},
        {"not_before": days(-20), "not_after": days(30)},
        {"not_after": days(-1)},
        {"not_before": days(1)},
    ]


def limits(r: random.Random, conditions: list[str]) -> Rule:
    """Random further members of a rule that allows."""
    some: dict[str, tuple[float, Any]] = {
        "during": (0.1, r.sample(windows(), r.choice([1, 1, 2]))),
        "max_actors": (0.08, r.choice([1, 2, 3])),
        "max_token_age": (0.08, r.choice(["5m", "15m", "1h"])),
        "acr_values": (0.07, r.choice([["mfa"], ["mfa", "phr"]])),
        "max_age": (0.06, r.choice(["10m", "1h"])),
        "via": (0.08, r.choice([[], [agent(0)], [OPS], [agent(0), AGENTS[20], OPS]])),
        "headers": (0.08, r.choice([{"x-env": ["prod", "stage"]}, {"x-tenant": ["*"]}])),
        "when": (0.12, r.choice(conditions)),
    }
    return {name: value for name, (share, value) in some.items() if r.random() < share}


def budget(s: str, limit: int, **more: str) -> Rule:
    """A budget for some of the services, which does not end while it is tested."""
    r = random.Random(s)  # not the company's own, whose later choices would change
    if r.random() < 0.2:
        return {}
    per = r.choice(["agent", "principal", "pair"])
    return {"budget": {"limit": limit, "per": per, "window": "366d", **more}}


def approval(s: str, arguments: list[str] | None) -> Rule:
    """An approval of each call for some of the services."""
    r = random.Random(f"{s} approves")
    if r.random() < 0.4:
        return {}
    named = {} if arguments is None else {"arguments": arguments}
    return {"approval": {"type": APPROVAL, "once": r.random() < 0.7, **named}}


def rest_grants(r: random.Random, s: str) -> Grants:
    """To read, to write, and to do all in a service; often with a deny beside it."""
    hosts = [host(s)] if r.random() < 0.8 else [host(s), host(r.choice(REST))]
    if r.random() < 0.4:  # a host for each tenant, or for each of its regions
        hosts.append(r.choice(["*.", "**."]) + host(s))

    def rule(name: str, methods: list[str], paths: list[str], scopes: list[str]) -> Rule:
        at = {"name": name, "hosts": hosts, "methods": methods, "paths": paths, "scopes": scopes}
        return at | limits(r, REST_CONDITIONS)

    v1 = f"/v1/{s}"
    every: Rule = {"hosts": hosts, "methods": ["*"], "paths": ["/**"]}
    everything = [rule("all", ["*"], ["/**"], [f"{s}:admin"])]
    if r.random() < 0.5:
        locked = {"methods": ["DELETE"], "paths": ["/v1/*/locked/**"]}
        everything.append(every | locked | {"name": "frozen", "effect": "deny"})
    if r.random() < 0.3:
        everything.append(every | {"name": "try", "shadow": True, "effect": "deny"})
    return {
        f"{s}-read": [
            rule("list", ["GET", "HEAD"], [v1, f"{v1}/{{id}}"], [f"{s}:read"]) | budget(s, 1),
            rule("deep", ["GET"], [f"{v1}/*/items/**", "/pub/**"], []),
        ],
        f"{s}-write": [
            rule("put", ["POST", "PUT", "PATCH"], [f"{v1}/{{id}}"], [f"{s}:write"]),
            rule("new", ["POST"], [v1], [f"{s}:write", "base"]),
            rule("draft", ["POST"], [f"{v1}/drafts/**"], []) | approval(s, []),
        ],
        f"{s}-admin": everything,
    }


def mcp_grants(r: random.Random, s: str) -> Grants:
    """To use some tools, to use all, and to use few with little money."""
    resources = ["trips://policy/**", "file:///docs/*.md", f"{s}://exact?x=1"]
    whole = {name: ["*"] for name in ("tools", "resources", "prompts", "tasks")}

    def rule(name: str, mcp: Rule, scopes: list[str], **more: Any) -> Rule:
        at = {"name": name, "hosts": [host(s)], "methods": ["*"], "paths": ["/mcp"]}
        return at | {"scopes": scopes, "mcp": mcp} | limits(r, MCP_CONDITIONS) | more

    return {
        f"{s}-use": [
            {"name": "session", "hosts": [host(s)], "methods": ["*"], "paths": ["/mcp"]}
            | {"scopes": [], "mcp": {}},
            rule("tools", {"tools": [*r.sample(TOOLS, 4), "get_*"]}, [f"{s}:use"])
            | budget(s, 600, cost="amount"),
            rule("texts", {"resources": resources, "prompts": ["plan_*", "brief"]}, []),
        ],
        f"{s}-power": [
            rule("all", whole | {"methods": ["logging/setLevel", "custom/*"]}, [f"{s}:power"])
        ],
        f"{s}-limit": [
            rule("few", {"tools": r.sample(TOOLS, 3)}, [], when=when.CURRENCY)
            | approval(s, ["amount"] if s < "m" else None),
            rule("tasks", {"tools": r.sample(TOOLS, 2), "tasks": ["*"]}, [f"{s}:use"]),
        ],
    }


def a2a_grants(r: random.Random, s: str) -> Grants:
    """To ask for some skills or anything plain, and to do all."""
    at = {"hosts": [host(s)], "methods": ["*"], "paths": ["/a2a", "/.well-known/**"]}
    skilled = {"methods": ["SendMessage", "GetAgentCard"], "skills": ["plan", "sum-*"]}
    plain = {"methods": ["SendMessage", "SendStreamingMessage", "GetTask"], "tasks": ["*"]}
    every = {"methods": ["*"], "tasks": ["*"]}

    def rule(name: str, a2a: Rule, scopes: list[str]) -> Rule:
        return at | {"name": name, "a2a": a2a, "scopes": scopes} | limits(r, A2A_CONDITIONS)

    return {
        f"{s}-ask": [rule("send", skilled, []), rule("plain", plain, [f"{s}:ask"])],
        f"{s}-all": [rule("any", every, [f"{s}:all"])],
    }


def model_grants(r: random.Random, s: str) -> Grants:
    """Small models with few tools, and big ones."""
    at = {"hosts": [host(s)], "methods": ["POST"], "paths": ["/v1/**"]}
    small = {"names": ["small-*", "mini"], "streaming": False, "tools": ["search", "get_*"]}

    def rule(name: str, models: Rule, scopes: list[str]) -> Rule:
        more = {"name": name, "models": models, "scopes": scopes}
        return at | more | limits(r, MODEL_CONDITIONS)

    return {
        f"{s}-small": [rule("small", small, [])],
        f"{s}-big": [
            rule("big", {"names": ["*"]}, [f"{s}:big"]),
            rule("bare", {"names": ["large-2"], "tools": []}, []),
        ],
    }


def deny(name: str, hosts: list[str], methods: list[str], paths: list[str], **more: Any) -> Grants:
    """A grant of one deny."""
    at = {"name": name, "effect": "deny", "hosts": hosts, "methods": methods, "paths": paths}
    return {f"deny-{name}": [at | more]}


def denies() -> Grants:
    """What is denied to many."""
    every = (["*"], ["*"], ["/**"])
    plans = {"resources": ["file:///etc/**", "file:///docs/secret*"], "tools": ["*_admin"]}
    push = {"methods": ["CreateTaskPushNotificationConfig", "CancelTask"], "skills": ["wire"]}
    secrets = ["/v1/*/secret/**", "/v1/*/{id}/items/salary"]
    stage = {"x-env": ["stage"]}
    return (
        deny("payroll", [host("payroll"), host("hr"), f"**.{host('hr')}"], ["*"], secrets)
        | deny("junior", [host(s) for s in REST[:9]], ["PUT", "DELETE"], ["/**"], when=when.JUNIOR)
        | deny("chain", ["*"], ["*"], ["/v1/**"], via=[LAB])
        | deny("files", *every, mcp=plans | {"methods": ["custom/danger"]})
        | deny("huge", *every, mcp={"tools": ["pay", "refund"]}, when=when.HUGE)
        | deny("push", *every, a2a=push)
        | deny("models", *every, models={"names": ["xl-*"], "tools": ["shell"]})
        | deny("legacy", ["*"], ["DELETE", "GET"], ["/v1/**"], when=when.LEGACY)
        | deny("weak", [host("billing"), host("legal")], ["*"], ["/**"], when=when.WEAK)
        | deny("deep", [host("audit"), host("pricing")], ["*"], ["/**"], when=when.DEEP)
        | deny("stage", [host("web-mcp"), host("mail")], ["*"], ["/**"], headers=stage)
        | deny("prod", [host("deploy"), host("git")], ["*"], ["/**"], when=when.UNCLEARED)
        | deny("weekend", [host("docs")], ["PUT"], ["/**"], during=[{"days": ["sat", "sun"]}])
    )


def own_run() -> list[Rule]:
    """What agents may do for themselves, and what they need a token for."""
    at = {"hosts": [host("audit")], "methods": ["GET", "POST"]}
    return [
        at | {"name": "run", "paths": ["/v1/own/**"], "scopes": []},
        at | {"name": "tell", "paths": ["/v1/told/**"], "scopes": ["audit:tell"]},
        at | {"name": "new", "paths": ["/v1/new/*"], "scopes": [], "max_token_age": "5m"},
        at | {"name": "strong", "paths": ["/v1/strong"], "scopes": [], "acr_values": ["mfa"]},
    ]


def grants(r: random.Random) -> Grants:
    """All that allow; the denies are ``denies()``."""
    made: Grants = {"own-run": own_run()}
    for services, make in (
        (REST, rest_grants),
        (MCP, mcp_grants),
        (A2A, a2a_grants),
        (MODELS, model_grants),
    ):
        for service in services:
            made |= make(r, service)
    return made
