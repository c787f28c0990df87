"""Messages that a rule may allow: of MCP, of A2A, and calls of models."""

import json
import random
from typing import Any

from support.company.names import TOOLS, words
from support.docs_model import Asked, Rule
from support.docs_model import conditions as when
from support.docs_model.calls import A2A_OLD

Body = dict[str, Any]

URIS = words(
    "file:///etc/passwd file:///ETC/passwd file:///docs/a.md trips://policy/x?y=1"
    " file:///docs/secret.md file:///docs/./a.md https://h/a/../b"
)
OF_SESSIONS = words(
    "initialize ping notifications/initialized tools/list prompts/list resources/list tasks/list"
)


def filled(r: random.Random, pattern: str, of_star: list[str]) -> str:
    """A name that fits a pattern; one of these for a star alone."""
    if pattern == "*":
        return r.choice(of_star)
    return pattern.replace("**", r.choice(["a", "a/b"])).replace("*", r.choice(["x", "x_y"]))


def put(asked: Asked, body: Body) -> None:
    """Make it a POST with a JSON body."""
    asked.method = "POST"
    asked.headers["content-type"] = "application/json"
    asked.body = json.dumps(body).encode()


def mcp_message(r: random.Random, rule: Rule, asked: Asked) -> None:
    """A call that the rule names, or one of each session."""
    if r.random() < 0.05:
        asked.method = r.choice(["GET", "DELETE"])
        return
    asked.headers["mcp-protocol-version"] = r.choice(["2025-06-18", "2025-11-25"])
    named = list(rule["mcp"].items())
    if not named or r.random() < 0.25:
        method, params = r.choice(OF_SESSIONS), Body()
    else:
        key, patterns = r.choice(named)
        method, params = named_call(r, key, r.choice(patterns), rule.get("when", ""))
    body = {"jsonrpc": "2.0", "id": r.choice([1, "a"]), "method": method, "params": params}
    if method.startswith("notifications/"):
        del body["id"]
    elif r.random() < 0.04:
        body = {"jsonrpc": "2.0", "id": 1, "result": {}}
    put(asked, body)


def named_call(r: random.Random, key: str, pattern: str, condition: str) -> tuple[str, Body]:
    """A method and parameters that fit one pattern of a rule."""
    if key == "tools":
        arguments = {"name": filled(r, pattern, TOOLS), "arguments": some_arguments(r, condition)}
        return "tools/call", arguments
    if key == "resources":
        method = r.choice(["resources/read", "resources/subscribe", "resources/unsubscribe"])
        return method, {"uri": filled(r, pattern, URIS)}
    if key == "prompts":
        return "prompts/get", {"name": filled(r, pattern, ["brief"])}
    if key == "tasks":
        return r.choice(["tasks/get", "tasks/cancel", "tasks/result"]), {"taskId": "t-1"}
    return filled(r, pattern, []), {}


def some_arguments(r: random.Random, condition: str) -> Body:
    """Arguments, mostly such that a condition on them holds."""
    if condition in (when.AMOUNT, when.CURRENCY) and r.random() < 0.7:
        return {"amount": 100, "currency": "EUR"}
    amount = {"amount": r.choice([1, 500, 499.5, 501, 20000, "7"])}
    return r.choice([{}, {"q": "x"}, amount, amount | {"currency": r.choice(["USD", "GBP"])}])


def a2a_message(r: random.Random, rule: Rule, asked: Asked) -> None:
    """A call that the rule names, by its name of either version."""
    part = rule["a2a"]
    every = ["SendMessage", "GetTask", "CancelTask", "GetExtendedAgentCard", "ListTasks"]
    method = filled(r, r.choice(part["methods"]), every)
    if method == "GetAgentCard":
        asked.method, asked.path = "GET", "/.well-known/agent-card.json"
        return
    params: Body = {"id": "t-1"} if method in ("GetTask", "CancelTask") else {}
    if method.startswith("Send"):
        message: Body = {"messageId": "m", "role": "user", "parts": [{"text": "x"}]}
        if "skills" in part and r.random() < 0.8:
            message["metadata"] = {"skillId": filled(r, r.choice([*part["skills"], "wire"]), [])}
        elif r.random() < 0.3:
            message["taskId"] = "t-9"
        params = {"message": message, "tenant": r.choice(["blue", "blue", "red"])}
        if r.random() < 0.1:
            push = {"url": "https://hook.example/"}
            params["configuration"] = {"taskPushNotificationConfig": push}
    old = {new: old for old, new in A2A_OLD.items()}.get(method, method)
    asked.path = "/a2a"
    put(asked, {"jsonrpc": "2.0", "id": 1, "method": r.choice([method, old]), "params": params})


def model_message(r: random.Random, rule: Rule, asked: Asked) -> None:
    """A call of a model that the rule names, or of one that is denied."""
    endpoint = r.choice(["chat/completions", "completions", "responses", "embeddings"])
    names = ["small-1", "large-2", "xl-1", "mini", "gpt"]
    body: Body = {"model": filled(r, r.choice([*rule["models"]["names"], "xl-*"]), names)}
    name = r.choice(["search", "get_x", "shell", "calc"])
    if endpoint == "chat/completions":
        body["messages"] = [{"role": "user", "content": "hi"}]
        if r.random() < 0.4:
            body["tools"] = [{"type": "function", "function": {"name": name}}]
    else:
        body["prompt" if endpoint == "completions" else "input"] = "hi"
    if endpoint == "responses" and r.random() < 0.4:
        body["tools"] = [{"type": "function", "name": name}]
    if endpoint != "embeddings":
        body["temperature"] = r.choice([0.2, 0.99, 1.0])
        body["stream"] = r.choice([True, False, False])
    asked.path = f"/v1/{endpoint}"
    put(asked, body)
