"""``authz doctor``: says what a proxy presents, and what is set wrongly on its side."""

import argparse
import time
from typing import Any, Final

import msgspec

from authz.cli.asking import OK, ask
from authz.cli.common import FAILED, FINE, answer, refuse
from authz.cli.parser.types import STDIN
from authz.cli.progress import progress
from authz.cli.reading import load_config, read_stdin
from authz.config import Config
from authz.edge.presentation import Kept
from authz.review.doctor import Diagnosis, diagnose
from authz.review.doctor.recorded import present_recorded
from authz.review.doctor.server import server_findings
from authz.review.explain import RecordedError, check_request

PAGE: Final = "/presented"
SECONDS: Final = 5.0  # a supervisor asks its workers for a second at most
_ANYWHERE: Final = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - to ask, not to listen


class PresentedAnswer(msgspec.Struct, frozen=True):
    """The answer of /presented."""

    version: str
    policy_version: str
    begun_at: float
    silent_workers: int
    presented: tuple[Kept, ...]


def run(options: argparse.Namespace) -> int:
    """Diagnose, and return the exit status. Raises ConfigError, BuildError."""
    if options.request and options.address:
        options.misused("give one of --address and --request")
    if options.proxy and not options.request:
        options.misused("--proxy goes with --request: a server knows its callers")
    config = load_config(options.config)
    try:
        diagnosis = _of_request(config, options) if options.request else _of_server(config, options)
    except (RecordedError, OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        return refuse(options, f"{_place(config, options)}: {why}", FAILED)
    answer(options, diagnosis.lines(), diagnosis.members)
    return FINE if diagnosis.is_fine else FAILED


def _of_request(config: Config, options: argparse.Namespace) -> Diagnosis:
    """Diagnose a recorded request. Raises RecordedError, OSError."""
    path = options.request
    data = read_stdin("CheckRequest") if path == STDIN else path.read_bytes()
    kept = present_recorded(config, check_request(data), time.time(), options.proxy)
    return diagnose(config, [kept])


def _of_server(config: Config, options: argparse.Namespace) -> Diagnosis:
    """Diagnose what a running server was asked. Raises OSError, ValueError."""
    address = _address(config, options)
    with progress(f"asking {address}"):
        status, body = ask(address, PAGE, SECONDS)
    if status != OK:
        raise ValueError(f"status {status.decode()}: not an agent-authz of this version")
    return diagnose(config, *_read(config, body))


def _read(config: Config, body: bytes) -> tuple[tuple[Kept, ...], list[Any]]:
    """Return the presentations, and what is wrong with the server. Raises ValueError."""
    try:
        read = msgspec.json.decode(body, type=PresentedAnswer)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise ValueError("the answer is not that of an agent-authz of this version") from None
    found = server_findings(config, read.policy_version, read.silent_workers, len(read.presented))
    return read.presented, list(found)


def _address(config: Config, options: argparse.Namespace) -> str:
    host, _, port = (options.address or config.admin.listen).rpartition(":")
    return f"{_ANYWHERE.get(host, host)}:{port}"


def _place(config: Config, options: argparse.Namespace) -> str:
    return str(options.request or f"http://{_address(config, options)}{PAGE}")
