"""``authz explain``: shows why a request would be allowed or denied."""

import argparse
import os
import time
from pathlib import Path

from authz.cli.agent_hint import agent_hint
from authz.cli.common import FAILED, FINE, answer, complain, refuse
from authz.cli.parser.types import STDIN, url
from authz.cli.progress import of_files, progress
from authz.cli.reading import load_config, read_stdin
from authz.cli.verbs.asked import read_call_flags, read_claims
from authz.config import Config
from authz.review.audit_files import AuditLogs
from authz.review.explain import (
    ExplainedRequest,
    Question,
    RecordedError,
    asked_in_words,
    asked_of_message,
    asked_of_record,
    audit_record,
    check_request,
    explain,
)


def run(options: argparse.Namespace) -> int:
    """Explain, and return the exit status. Raises ConfigError, LogError."""
    recorded = [path for path in (options.check_request, options.audit) if path]
    default = os.environ.get("AUTHZ_CONFIG")
    if len(options.asked) == 1 and default and not recorded:  # the two words are METHOD and URL
        options.asked, options.config = [str(options.config), *options.asked], Path(default)
    _check_usage(options, len(recorded))
    config = load_config(options.config)
    try:
        asked = _asked(config, options)
    except (RecordedError, OSError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        place = options.check_request or options.token_file or " ".join(map(str, options.audit))
        return refuse(options, f"{place}: {why}", FAILED)
    if hint := agent_hint(config, options.agent):
        complain(f"authz: --agent: {options.agent!r} is not a SPIFFE ID{hint}")
    has_token = options.token_file or options.check_request
    with progress("asking the token's issuer" if has_token else "explaining"):
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
        url(options.asked[1])
    except argparse.ArgumentTypeError as error:
        options.misused(str(error))


def _asked(config: Config, options: argparse.Namespace) -> ExplainedRequest:
    at = None if options.at is None else options.at.timestamp()
    if options.audit:
        with progress("reading") as tell, AuditLogs(options.audit, of_files(tell)) as logs:
            return asked_of_record(audit_record(logs, options.decision_id))
    if options.check_request is not None:
        message = check_request(_bytes_of(options.check_request, "CheckRequest"))
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
        claims=read_claims(options),
        headers=tuple(headers.items()),
        earlier_actors=tuple(options.actor),
        token_age_seconds=options.token_age,
        token=_token(options.token_file),
        route=options.route,
        words=read_call_flags(options),
    )
    return asked_in_words(config, question, time.time() if at is None else at)


def _token(path: Path | None) -> str:
    """Read a token from a file or standard input: other users can read a command's arguments."""
    return "" if path is None else _bytes_of(path, "token").decode("utf-8", "replace").strip()


def _bytes_of(path: Path, what: str) -> bytes:
    """Read a file. Raises OSError."""
    return read_stdin(what) if path == STDIN else path.read_bytes()
