"""Near misses of messages: something changed in them, or in the headers about them."""

import json
import random
from typing import Any

from support.company.names import (
    TOOLS,
    words,
)
from support.docs_model import Asked

URIS = words(
    "file:///docs/a.md file:///docs/a/b.md file:///docs/../etc/x FILE:///docs/a.md trips://policy"
    " trips://policy/ trips://policy/a?b trips://policy//a file:///docs/%61.md file:///docs/x.md?y"
    " pay-mcp://exact?x=1 file:///etc/passwd file:///docs/secret.md trips://u@policy/a"
)
METHODS = words(
    "tools/list logging/setLevel custom/x custom/danger foo/bar ListTasks CancelTask Tools/call"
    " resources/templates/list roots/list server/discover"
)


def change_body(r: random.Random, asked: Asked) -> None:
    """Something in the message, in its bytes, or in the headers about it."""
    kind = r.choice(["member", "member", "params", "params", "params", "bytes", "headers"])
    asked.near_miss = kind
    if kind == "headers":
        asked.headers |= r.choice(
            [
                {"content-type": "text/plain"},
                {"content-type": "application/json; charset=utf-16"},
                {"content-encoding": "gzip"},
                {"mcp-method": r.choice(["tools/call", "x"])},
                {"mcp-name": r.choice(["get_trip", " get_trip\t", "x"])},
            ]
        )
    elif kind == "bytes":
        body = asked.body
        asked.is_cut = r.random() < 0.2
        double = body[:-1] + b', "model": "x", "method": "ping"}'
        bad = [b"", body + b"x", body[:-1], b"[" + body + b"]", body + b"\xff", double, b"7"]
        asked.body = body[:-5] if asked.is_cut else r.choice(bad)
    else:
        message = json.loads(asked.body)
        (change_member if kind == "member" else change_params)(r, message)
        asked.body = json.dumps(message).encode()


def change_member(r: random.Random, message: dict[str, Any]) -> None:
    """A member of the message itself."""
    if "model" in message:
        names = ["small-9", "xl-1", "large-2", "SMALL-1", "", "mini"]
        redefining: list[dict[str, Any]] = [
            {"user_config": {}},
            {"api_base": "x"},
            {"metadata": {"tags": ["xl-1"]}},
        ]
        more = [{"metadata": {"job": "7"}}, *redefining]
        more += [{"stream": True}, {"stream": "yes"}]
        message |= r.choice(more)
        message["model"] = r.choice(names)
        return
    changes: list[dict[str, Any]] = [
        {"method": r.choice(METHODS)},
        {"jsonrpc": "1.0"},
        {"more": 1},
        {"id": r.choice([None, True, 1.5, {}])},
        {"params": r.choice([[], 5, None])},
    ]
    message |= r.choice(changes if "method" in message else changes[1:4])


def change_params(r: random.Random, message: dict[str, Any]) -> None:
    """What is called, and with what."""
    params = message.get("params", {})
    if "name" in params and r.random() < 0.5:
        params["name"] = r.choice([*TOOLS, "Get_trip", "drop_admin", "x", "", "get_\u0007"])
    elif "uri" in params:
        params["uri"] = r.choice(URIS)
    elif "message" in params:
        params["message"]["metadata"] = {"skillId": r.choice(["plan", "wire", "sum-1", "Plan"])}
    elif "arguments" in params:
        amounts = [501, 20000, True, None, "1", 500, -1, 1e300]
        params["arguments"] = {"amount": r.choice(amounts), "currency": r.choice(["EUR", "GBP"])}
