"""The flags that describe a message, for the verbs that ask policy."""

import argparse

from authz.cli.parser.types import json_object


def add_call(parser: argparse.ArgumentParser) -> None:
    """Add the flags that describe a message, for a route with a protocol."""
    add = parser.add_argument
    add("--mcp", default="", metavar="METHOD", help="an MCP method, such as tools/list")
    add("--tool", default="", metavar="NAME", help="call this tool (tools/call)")
    add("--resource", default="", metavar="URI", help="read this resource (resources/read)")
    add("--prompt", default="", metavar="NAME", help="get this prompt (prompts/get)")
    add("--task", default="", metavar="ID", help="the task that --mcp or --a2a is about")
    add(
        "--arguments",
        default={},
        type=json_object,
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
