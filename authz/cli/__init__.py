"""The command ``authz``: serve, check, explain, keys, metadata, schema, health.

Exit status: 0 fine or allowed, 1 the check failed or denied, 2 usage, 3 could not start.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import urllib3

from authz import __version__
from authz.build import BuildError, check_files, revocations_of
from authz.cli import policy
from authz.config import Config, ConfigError, load, schema
from authz.explain import EXAMPLES, Question, explain
from authz.keytable import fetch_all
from authz.metadata import NoResourceError, resource_metadata
from authz.revocations import Revocation, RevocationError
from authz.server import StartError, run
from authz.server.logs import configure
from authz.tls import TlsError

FINE: Final = 0
FAILED: Final = 1
USAGE: Final = 2
NO_START: Final = 3
HEALTH_SECONDS: Final = 2.0
LOG_LEVELS: Final = ("debug", "info", "warning", "error")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; the exit status."""
    options = _parser().parse_args(arguments)
    verb: Callable[[argparse.Namespace], int] = options.verb
    try:
        return verb(options)
    except ConfigError as error:
        _complain(*error.lines())
        return NO_START if verb is _serve else FAILED
    except (BuildError, TlsError) as error:
        _complain(f"authz: {error}")
        return FAILED
    except BrokenPipeError:  # the reader of our output went away
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _complain(*lines: str) -> None:
    for line in lines:
        print(line, file=sys.stderr)


def _serve(options: argparse.Namespace) -> int:
    configure(options.log_level)
    try:
        run(options.config)
    except StartError as error:
        _complain(f"authz: could not start: {error}")
        return NO_START
    return FINE


def _check(options: argparse.Namespace) -> int:
    config = load(options.config)
    check_files(config)
    print(
        f"{options.config}: fine: {_count(len(config.issuers), 'issuer')}, "
        f"{_count(len(config.agents), 'agent')}, {_count(len(config.grants), 'grant')}"
    )
    return FINE


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _explain(options: argparse.Namespace) -> int:
    config: Config = load(options.config)
    question = Question(
        agent=options.agent,
        method=options.method,
        url=options.url,
        principal=options.principal,
        issuer=options.issuer,
        scopes=tuple(options.scope.split()),
        groups=tuple(options.group),
        token=_token(options.token_file),
        route=options.route,
    )
    explanation = explain(config, question, time.time())
    print("\n".join(explanation.lines))
    return FINE if explanation.is_allowed else FAILED


def _token(path: str | None) -> str:
    """A token from a file or standard input: never from the arguments, which others can read."""
    if path is None:
        return ""
    text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    return text.strip()


def _url(text: str) -> str:
    if "://" not in text:
        raise argparse.ArgumentTypeError(f"{text!r} is no URL such as https://mcp.corp.example/a")
    return text


def _keys(options: argparse.Namespace) -> int:
    found = fetch_all(load(options.config))
    for one in found:
        print("\n".join(one.lines()))
    return FAILED if any(one.error for one in found) else FINE


def _revoke(options: argparse.Namespace) -> int:
    entry = Revocation(
        agent=options.agent,
        issuer=options.issuer,
        subject=options.subject,
        token_id=options.token_id,
        before=options.before,
        note=options.note,
    )
    if entry.agent is None and entry.token_id is None and entry.before is None:
        entry = msgspec.structs.replace(entry, before=datetime.now(UTC))
    try:
        revocations_of(load(options.config)).append(entry)
    except RevocationError as error:
        _complain(f"authz: {error}")
        return USAGE
    print(f"revoked, within a second: {msgspec.json.encode(entry).decode()}")
    return FINE


def _time(text: str) -> datetime:
    with suppress(ValueError):
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment
    raise argparse.ArgumentTypeError(f"{text!r} is no time such as 2026-11-25T10:00:00Z")


def _metadata(options: argparse.Namespace) -> int:
    try:
        document = resource_metadata(load(options.config), options.route)
    except NoResourceError as error:
        _complain(f"authz: {error}")
        return USAGE
    print(json.dumps(document, indent=2))
    return FINE


def _schema(_: argparse.Namespace) -> int:
    print(json.dumps(schema(), indent=2))
    return FINE


def _health(options: argparse.Namespace) -> int:
    url = f"http://{options.address}/readyz"
    try:
        response = urllib3.PoolManager().request(
            "GET", url, retries=False, redirect=False, timeout=HEALTH_SECONDS
        )
    except urllib3.exceptions.HTTPError as error:
        _complain(f"authz: {url}: {type(error).__name__}")
        return FAILED
    print(response.data.decode("utf-8", "replace").strip())
    return FINE if response.status == 200 else FAILED  # noqa: PLR2004 - HTTP's OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="authz",
        description="Envoy external authorization for AI agents: which agent, acting for whom, "
        "may do this.",
        epilog="exit status: 0 fine or allowed, 1 the check failed or denied, 2 usage, "
        "3 could not start",
    )
    parser.add_argument("--version", action="version", version=f"authz {__version__}")
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")

    serve = _verb(verbs, _serve, "serve", "answer a proxy's checks until told to stop")
    _add_config(serve)
    serve.add_argument(
        "--log-level",
        choices=LOG_LEVELS,
        default=os.environ.get("AUTHZ_LOG_LEVEL", "info"),
        help="how much of the operational log (AUTHZ_LOG_LEVEL; default: info)",
    )

    check = _verb(verbs, _check, "check", "find every error of a config, with file and line")
    _add_config(check)

    why = _verb(verbs, _explain, "explain", "say why a request would be allowed or denied")
    why.epilog = EXAMPLES
    why.formatter_class = argparse.RawDescriptionHelpFormatter
    _add_config(why)
    why.add_argument("method", metavar="METHOD", help="the HTTP method, such as GET")
    why.add_argument(
        "url", metavar="URL", type=_url, help="the URL, such as https://mcp.corp.example/a/b"
    )
    why.add_argument("--agent", required=True, metavar="ID", help="the caller's SPIFFE ID")
    why.add_argument("--principal", default="", metavar="SUB", help="for whom: the token's sub")
    why.add_argument("--issuer", default="", metavar="ISS", help="default: the only issuer")
    why.add_argument(
        "--scope", default="", metavar="SCOPES", help="the token's scopes, in one word"
    )
    why.add_argument("--group", action="append", default=[], metavar="GROUP", help="repeatable")
    why.add_argument(
        "--route", default="", metavar="NAME", help="the route that the proxy names, if it does"
    )
    why.add_argument(
        "--token-file", metavar="FILE", help="verify this token instead; - for standard input"
    )

    policy.add_verbs(verbs)

    keys = _verb(verbs, _keys, "keys", "fetch every issuer's keys once, and show what is trusted")
    keys.epilog = "exit status: 1 when an issuer's keys could not be had"
    _add_config(keys)

    metadata = _verb(
        verbs, _metadata, "metadata", "print a route's protected-resource metadata (RFC 9728)"
    )
    _add_config(metadata)
    metadata.add_argument("route", metavar="ROUTE", help="the name of a route with a resource")

    revoke = _verb(verbs, _revoke, "revoke", "refuse an agent, a principal's tokens or one token")
    revoke.epilog = "adds a line to the file that revocations.file of the config names"
    _add_config(revoke)
    revoke.add_argument("--agent", metavar="ID", help="an agent's SPIFFE ID, alone")
    revoke.add_argument("--issuer", metavar="ISS", help="whose tokens; all of them if alone")
    revoke.add_argument("--subject", metavar="SUB", help="the tokens of this principal")
    revoke.add_argument("--token-id", metavar="JTI", help="one token")
    revoke.add_argument(
        "--before", metavar="TIME", type=_time, help="tokens issued before; default: now"
    )
    revoke.add_argument("--note", metavar="TEXT", help="for people")

    _verb(verbs, _schema, "schema", "print the config's JSON Schema, for editors")

    health = _verb(verbs, _health, "health", "ask a running server whether it is ready")
    health.add_argument(
        "address", nargs="?", default="127.0.0.1:9192", help="host:port (default: %(default)s)"
    )
    return parser


def help_texts() -> list[tuple[str, str]]:
    """The command and its verbs with their help, for the reference page."""
    parser = _parser()
    verbs = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))  # noqa: SLF001 - argparse has no public way
    return [
        ("authz", parser.format_help()),
        *((f"authz {name}", verb.format_help()) for name, verb in verbs.choices.items()),
    ]


def _verb(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]",
    function: Callable[[argparse.Namespace], int],
    name: str,
    summary: str,
) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    parser.set_defaults(verb=function)
    return parser


def _add_config(parser: argparse.ArgumentParser) -> None:
    default = os.environ.get("AUTHZ_CONFIG")
    parser.add_argument(
        "config",
        metavar="CONFIG",
        type=Path,
        nargs="?" if default else None,
        default=Path(default) if default else None,
        help="the config file (AUTHZ_CONFIG)",
    )


if __name__ == "__main__":
    sys.exit(main())
