"""The verbs that ask policy: explain, who-can, what-can."""

import argparse
import os
import re
import sys
import time
from pathlib import Path
from typing import Any, Final

from authz.cli.call_flags import add_call, read_call_flags
from authz.cli.common import (
    FAILED,
    FINE,
    add_config,
    add_verb,
    answer,
    complain,
    parse_time,
    progress,
)
from authz.config import Config, load
from authz.core import strict_json
from authz.core.decision import Agent
from authz.core.reason import Denied
from authz.core.request import Operation
from authz.core.routes import Routes
from authz.core.spiffe import SpiffeId, SpiffeIdError
from authz.review.audit_files import AuditLogs
from authz.review.explain import (
    EXAMPLES,
    ExplainedRequest,
    Question,
    RecordedError,
    asked_in_words,
    asked_of_message,
    asked_of_record,
    assumed,
    audit_record,
    check_request,
    explain,
)
from authz.review.search import what_can, who_can
from authz.wiring import build_policy

_AGE: Final = re.compile(r"([0-9]{1,9})(s|m|h|d)")
_UNIT_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def add_verbs(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verbs explain, who-can and what-can."""
    _add_explain(verbs)
    who = add_verb(
        verbs, _who_can, "who-can", "list the agents and principals that may do something"
    )
    who.epilog = "exit status: 1 when no agent may"
    add_config(who)
    who.add_argument("method", metavar="METHOD", help="the HTTP method, such as GET")
    who.add_argument("url", metavar="URL", type=_url, help="the URL")
    add_call(who)
    what = add_verb(verbs, _what_can, "what-can", "list what an agent may do, for a principal")
    what.epilog = "exit status: 1 when the agent may do nothing"
    add_config(what)
    what.add_argument("agent", metavar="AGENT", help="the agent's SPIFFE ID")
    what.add_argument(
        "--for", dest="principal", default="", metavar="SUB", help="the principal: the token's sub"
    )
    _add_delegation(what)


def _add_explain(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    why = add_verb(verbs, _explain, "explain", "show why a request would be allowed or denied")
    why.epilog = EXAMPLES
    why.formatter_class = argparse.RawDescriptionHelpFormatter
    why.set_defaults(misused=why.error)
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
        type=_age,
        default=0.0,
        metavar="AGE",
        help="time since the token was issued, such as 5m",
    )
    why.add_argument(
        "--header", action="append", default=[], type=_pair, metavar="NAME=VALUE", help="repeatable"
    )
    why.add_argument(
        "--at",
        type=parse_time,
        metavar="TIME",
        help="decide as of this time; default: when the request was recorded, or now",
    )
    why.add_argument(
        "--route", default="", metavar="NAME", help="the route that the proxy names in authz_route"
    )
    why.add_argument(
        "--token-file",
        metavar="FILE",
        help="verify this token instead of assuming one; - for standard input",
    )
    why.add_argument(
        "--check-request",
        type=Path,
        metavar="FILE",
        help="explain this CheckRequest of a proxy: protobuf, binary or text, or JSON",
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
    why.add_argument("--json", action="store_true", help="print JSON")


def _add_delegation(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--issuer",
        default="",
        metavar="ISS",
        help="the token's issuer; default: the first in the config",
    )
    add("--group", action="append", default=[], metavar="GROUP", help="repeatable")
    add("--role", action="append", default=[], metavar="ROLE", help="repeatable")
    add(
        "--claim",
        action="append",
        default=[],
        type=_pair,
        metavar="NAME=VALUE",
        help="a claim of the token, as JSON or text; repeatable",
    )


def _explain(options: argparse.Namespace) -> int:
    recorded = [path for path in (options.check_request, options.audit) if path]
    default = os.environ.get("AUTHZ_CONFIG")
    if len(options.asked) == 1 and default and not recorded:  # the two words are METHOD and URL
        options.asked, options.config = [str(options.config), *options.asked], Path(default)
    _check_usage(options, len(recorded))
    config = load(options.config)
    try:
        asked = _asked(config, options)
    except (RecordedError, OSError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        place = options.check_request or options.token_file or " ".join(map(str, options.audit))
        complain(f"authz: {place}: {why}")
        return FAILED
    explanation = explain(config, asked, shows_all=options.all)
    answer(options, explanation.lines, explanation.members)
    return FINE if explanation.is_allowed else FAILED


def _check_usage(options: argparse.Namespace, recorded: int) -> None:
    """End with a usage error unless the arguments make a single question."""
    if recorded > 1:
        options.misused("give one of --check-request and --audit")
    if (not options.audit) != (not options.decision_id):
        options.misused("--audit and --decision-id go together")
    words = read_call_flags(options)
    if recorded:
        if options.asked or options.agent or options.token_file or words.protocol:
            options.misused("a record has its own METHOD, URL, --agent and token; leave them out")
        return
    if len(options.asked) != 2:  # noqa: PLR2004 - METHOD and URL
        options.misused("give METHOD and URL, or --check-request, or --audit with --decision-id")
    if not options.agent:
        options.misused("name the calling agent with --agent")
    try:
        _url(options.asked[1])
    except argparse.ArgumentTypeError as error:
        options.misused(str(error))


def _asked(config: Config, options: argparse.Namespace) -> ExplainedRequest:
    at = None if options.at is None else options.at.timestamp()
    if options.audit:
        with progress() as news, AuditLogs(options.audit, news) as logs:
            return asked_of_record(audit_record(logs, options.decision_id))
    if options.check_request is not None:
        message = check_request(options.check_request.read_bytes())
        return asked_of_message(config, message, at, time.time())
    method, url = options.asked
    headers: dict[str, str] = {}
    for name, value in options.header:  # joined as Envoy does
        key = name.lower()
        headers[key] = f"{headers[key]},{value}" if key in headers else value
    question = Question(
        agent=options.agent,
        method=method,
        url=url,
        principal=options.principal,
        issuer=options.issuer,
        scopes=tuple(options.scope.split()),
        claims=_claims(options),
        headers=tuple(headers.items()),
        earlier_actors=tuple(options.actor),
        token_age_seconds=options.token_age,
        token=_token(options.token_file),
        route=options.route,
        words=read_call_flags(options),
    )
    return asked_in_words(config, question, time.time() if at is None else at)


def _claims(options: argparse.Namespace) -> dict[str, Any]:
    listed = {"groups": options.group, "roles": options.role}
    claims: dict[str, Any] = {name: values for name, values in listed.items() if values}
    return claims | {name: _json_or_text(value) for name, value in options.claim}


def _json_or_text(text: str) -> object:
    try:
        return strict_json.loads(text.encode())
    except ValueError:
        return text


def _who_can(options: argparse.Namespace) -> int:
    config = load(options.config)
    question = Question("", options.method, options.url, words=read_call_flags(options))
    try:
        request = asked_in_words(config, question, 0.0).request
        operation = Operation.of(request)
        route = Routes(config.routes).of(request, operation)
    except Denied as denied:
        complain(f"authz: no agent may: {denied.reason.code}: {denied.detail}")
        return FAILED
    alone = route.takes_svid_alone
    found = who_can(build_policy(config), operation, takes_svid_alone=alone)
    print("\n".join(found.lines()))
    return FINE if found else FAILED


def _what_can(options: argparse.Namespace) -> int:
    config = load(options.config)
    try:
        agent = Agent(SpiffeId.parse(options.agent))
    except SpiffeIdError as error:
        complain(f"authz: {options.agent}: {error}")
        return FAILED
    question = Question(
        agent=options.agent,
        method="",
        url="",
        principal=options.principal,
        issuer=options.issuer,
        claims=_claims(options),
    )
    delegation = assumed(config, question, 0.0) if options.principal else None
    found = what_can(build_policy(config), agent, delegation)
    print("\n".join(found.lines()))
    return FINE if found else FAILED


def _token(path: str | None) -> str:
    """Read a token from a file or standard input: other users can read a command's arguments."""
    if path is None:
        return ""
    text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    return text.strip()


def _url(text: str) -> str:
    if "://" not in text:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a URL such as https://mcp.corp.example/a"
        )
    return text


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not name or not separator:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def _age(text: str) -> float:
    match = _AGE.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not an age such as 90s, 5m or 1h")
    return float(int(match[1]) * _UNIT_SECONDS[match[2]])
