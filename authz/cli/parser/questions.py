"""The arguments of the verbs that ask policy: explain, who-can, what-can."""

import argparse
from pathlib import Path
from typing import Final

from authz.cli.parser.adding import add_config, add_json, add_verb, end_help
from authz.cli.parser.call import add_call
from authz.cli.parser.types import a_time, age, pair, url

AT_MOST: Final = (
    "Requirements that depend on a request, such as times and conditions, are listed and not "
    "evaluated: authz explain tries a single request."
)
AGENT: Final = "spiffe://corp.example/ns/agents/sa/travel"


def add_verbs(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verbs explain, who-can and what-can."""
    _add_explain(verbs)
    who = add_verb(
        verbs, "who_can", "who-can", "list the agents and principals that may do something"
    )
    end_help(
        who,
        "authz who-can authz.yaml GET https://mcp.corp.example/finance/balance",
        "authz who-can authz.yaml POST https://mcp.corp.example/trips/mcp --tool book_trip",
        status="0 an agent may, 1 no agent may, or the config is invalid, 2 usage",
        note=AT_MOST,
    )
    add_config(who)
    who.add_argument("method", metavar="METHOD", help="the HTTP method, such as GET")
    who.add_argument("url", metavar="URL", type=url, help="the URL")
    add_call(who)
    add_json(who)
    what = add_verb(verbs, "what_can", "what-can", "list what an agent may do, for a principal")
    end_help(
        what,
        f"authz what-can authz.yaml {AGENT} --for alice",
        status="0 the agent may do something, 1 it may do nothing, or the config is invalid, "
        "2 usage",
        note=AT_MOST,
    )
    add_config(what)
    what.add_argument("agent", metavar="AGENT", help="the agent's SPIFFE ID")
    what.add_argument(
        "--for", dest="principal", default="", metavar="SUB", help="the principal: the token's sub"
    )
    _add_delegation(what)
    add_json(what)


def _add_explain(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    why = add_verb(verbs, "explain", "explain", "show why a request would be allowed or denied")
    end_help(
        why,
        "authz explain authz.yaml GET https://mcp.corp.example/finance/balance \\",
        f"    --agent {AGENT} --principal alice --scope balance:read",
        "authz explain authz.yaml GET https://mcp.corp.example/finance/balance \\",
        f"    --agent {AGENT} --token-file token.jwt",
        "authz explain authz.yaml POST https://mcp.corp.example/trips/mcp --tool book_trip \\",
        f"    --arguments '{{\"price\": 400}}' --agent {AGENT} --principal alice",
        "authz explain authz.yaml --check-request request.json",
        "authz explain authz.yaml --audit audit.jsonl --decision-id 1f0c6f6cf2a94f3c8f4e7d1a2b3c",
        status="0 allowed, 1 denied, or the config or a file can't be used, 2 usage",
    )
    add_config(why)
    why.add_argument(
        "asked",
        metavar="METHOD URL",
        nargs="*",
        help="the HTTP method and the URL, such as GET https://mcp.corp.example/a/b",
    )
    why.add_argument("--agent", metavar="ID", help="the caller's SPIFFE ID")
    why.add_argument(
        "--principal", default="", metavar="SUB", help="the principal: the token's sub"
    )
    _add_delegation(why)
    add_call(why)
    why.add_argument(
        "--scope",
        default="",
        metavar="SCOPES",
        help="the token's scopes, with spaces between: quote them",
    )
    why.add_argument(
        "--actor", action="append", default=[], metavar="ID", help="an earlier actor, latest first"
    )
    why.add_argument(
        "--token-age",
        type=age,
        default=0.0,
        metavar="AGE",
        help="time since the token was issued, such as 5m",
    )
    why.add_argument(
        "--header",
        action="append",
        default=[],
        type=pair,
        metavar="NAME=VALUE",
        help="a header of the request; repeatable",
    )
    why.add_argument(
        "--at",
        type=a_time,
        metavar="TIME",
        help="decide as of this time; default: when the request was recorded, or now",
    )
    why.add_argument(
        "--route", default="", metavar="NAME", help="the route that the proxy names in authz_route"
    )
    why.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="verify this token instead of assuming one; - for standard input",
    )
    why.add_argument(
        "--check-request",
        type=Path,
        metavar="FILE",
        help="explain this CheckRequest of a proxy: protobuf, binary or text, or JSON; "
        "- for standard input",
    )
    why.add_argument(
        "--audit",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="explain a decision in this audit log, plain or gzip'd; - for standard input; "
        "repeatable",
    )
    why.add_argument(
        "--decision-id", default="", metavar="ID", help="the decision to explain, with --audit"
    )
    why.add_argument("--all", action="store_true", help="show every rule, not only the nearest")
    add_json(why)


def _add_delegation(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--issuer",
        default="",
        metavar="ISS",
        help="the token's issuer; default: the first in the config",
    )
    add(
        "--group",
        action="append",
        default=[],
        metavar="GROUP",
        help="a group of the principal; repeatable",
    )
    add(
        "--role",
        action="append",
        default=[],
        metavar="ROLE",
        help="a role of the principal; repeatable",
    )
    add(
        "--claim",
        action="append",
        default=[],
        type=pair,
        metavar="NAME=VALUE",
        help="a claim of the token, as JSON or text; repeatable",
    )
