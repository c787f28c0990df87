"""Adds and reads the flags that describe a message, for the verbs that ask policy."""

import argparse
from typing import Any

from pydantic import ValidationError

from authz.config.setting_errors import error_message
from authz.core import strict_json
from authz.review.call_input import CallInput


def add_call(parser: argparse.ArgumentParser) -> None:
    """Add the flags that describe a message, for a route with a protocol."""
    parser.set_defaults(misused=parser.error)
    add = parser.add_argument
    add("--mcp", default="", metavar="METHOD", help="an MCP method, such as tools/list")
    add("--tool", default="", metavar="NAME", help="call this tool (tools/call)")
    add("--resource", default="", metavar="URI", help="read this resource (resources/read)")
    add("--prompt", default="", metavar="NAME", help="get this prompt (prompts/get)")
    add("--task", default="", metavar="ID", help="the task that --mcp or --a2a is about")
    add(
        "--arguments",
        default={},
        type=_object,
        metavar="JSON",
        help="the arguments of the MCP call, as a JSON object",
    )
    add("--a2a", default="", metavar="METHOD", help="an A2A method, such as SendMessage")
    add("--skill", default="", metavar="NAME", help="the skill that the A2A call is about")
    add("--model", default="", metavar="NAME", help="call this model")
    add(
        "--offer",
        action="append",
        default=[],
        metavar="TOOL",
        help="a tool offered to the model; repeatable",
    )
    add("--stream", action="store_true", help="ask the model for a streamed answer")


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


def _object(text: str) -> dict[str, Any]:
    try:
        value = strict_json.loads(text.encode())
    except ValueError:  # the message below says what would be right
        value = None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f'{text!r} is not a JSON object such as {{"limit": 5}}')
    return value
