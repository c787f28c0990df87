"""What people approved of the company's requests, and what they nearly did."""

import json
import random
from typing import Any

from support.company.names import APPROVAL, STAFF_ISSUER
from support.docs_model import Asked, Refused, Rule
from support.docs_model.approvals import DETAILS, written
from support.docs_model.paths import read_path

Claims = dict[str, Any]


def approve(r: random.Random, rule: Rule, asked: Asked) -> None:
    """Give the token an approval of what is asked, most often."""
    if asked.token is None or r.random() < 0.15:
        return
    claims = asked.token.claims
    if claims["iss"] != STAFF_ISSUER and r.random() < 0.8:
        return
    element = {"type": APPROVAL, **(of_message(rule, asked) if asked.body else of_path(asked))}
    if r.random() < 0.2:
        element |= {"jti": f"{r.getrandbits(64):x}", "iat": claims["iat"], "exp": claims["exp"]}
    other = element | {"identifier": "other"}
    claims[DETAILS] = r.choice([[element], [other, element], [element, other]])


def of_message(rule: Rule, asked: Asked) -> Claims:
    """What names the call of a message."""
    params = json.loads(asked.body).get("params", {})
    held = params.get("arguments", {})
    names = rule["approval"].get("arguments", held)
    return {
        "actions": [json.loads(asked.body).get("method", "")],
        "identifier": params.get("name", ""),
        "arguments": {name: held[name] for name in names if name in held},
    }


def of_path(asked: Asked) -> Claims:
    """What names a plain request."""
    try:
        segments, _ = read_path(asked.path)
    except Refused:
        segments = []
    path = "/" + "/".join(map(written, segments))
    return {"actions": [asked.method, "PURGE"], "identifier": path}


def change_approval(r: random.Random, claims: Claims) -> None:
    """Change an element, or the claim, a little."""
    element = r.choice(claims[DETAILS])
    held = element.get("arguments", {})
    changes: list[Claims] = [
        {"type": "other"},
        {"identifier": element["identifier"] + "x"},
        {"identifier": ""},
        {"actions": ["tools/call"]},
        {"actions": []},
        {"locations": ["https://other.example"]},
        {"arguments": {**held, "x": 1}},
        {"arguments": {name: str(value) for name, value in held.items()}},
        {"arguments": {n: float(v) if isinstance(v, int) else v for n, v in held.items()}},
        {"arguments": {}},
        {"privileges": ["all"]},
        {"exp": 1},
        {"jti": "a", "iat": 1, "exp": 2},
    ]
    element |= r.choice(changes)
    if r.random() < 0.1:
        claims[DETAILS] = r.choice(["x", [], {}, claims[DETAILS] * 9, [7], None])
