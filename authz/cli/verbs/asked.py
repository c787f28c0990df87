"""Reads the flags of the verbs that ask policy: claims, and a message."""

import argparse
from typing import Any

from pydantic import ValidationError

from authz.config.setting_errors import error_message
from authz.core import strict_json
from authz.review.call_input import CallInput


def read_claims(options: argparse.Namespace) -> dict[str, Any]:
    """Return the claims of the token that the flags describe."""
    listed = {"groups": options.group, "roles": options.role}
    claims: dict[str, Any] = {name: values for name, values in listed.items() if values}
    return claims | {name: _json_or_text(value) for name, value in options.claim}


def _json_or_text(text: str) -> object:
    try:
        return strict_json.loads(text.encode())
    except ValueError:
        return text


def read_call_flags(options: argparse.Namespace) -> CallInput:
    """Return the call that the flags describe; end with a usage error if they contradict."""
    given = {
        "mcp": {
            "method": options.mcp,
            "tool": options.tool,
            "resource": options.resource,
            "prompt": options.prompt,
            "task": "" if options.a2a else options.task,
            "arguments": options.arguments,
        },
        "a2a": {
            "method": options.a2a,
            "task": options.task if options.a2a else "",
            "skill": options.skill,
        },
        "models": {
            "name": options.model,
            "tools": tuple(options.offer),
            "streaming": options.stream,
        },
    }
    said = {name: members for name, members in given.items() if any(members.values())}
    try:
        return CallInput.model_validate(said)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        message = error_message(first, first["loc"], CallInput)
        options.misused(f"{place}: {message}" if place else message)
        raise  # never reached: ``misused`` ends the process
