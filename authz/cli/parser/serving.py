"""The arguments of the verbs about a running server: serve, sts, health, doctor."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from authz.cli.parser.adding import add_config, add_json, add_lasting_config, add_verb, end_help

if TYPE_CHECKING:
    import argparse

    from authz.cli.parser.adding import Verbs

LOG_LEVELS: Final = ("debug", "info", "warning", "error")


def add_serve(verbs: "Verbs") -> None:
    """Add the verb serve."""
    serve = add_verb(verbs, "serve", "serve", "answer a proxy's checks until told to stop")
    end_help(
        serve,
        "authz serve authz.yaml",
        status="0 it was told to stop, 2 usage, 3 it could not start",
        note="The server watches the config's files, and takes a valid change at once.",
    )
    add_lasting_config(serve)
    _add_log_level(serve)


def add_sts(verbs: "Verbs") -> None:
    """Add the verb sts."""
    sts = add_verb(
        verbs,
        "sts",
        "sts",
        "make delegation tokens for agents until told to stop",
        "Serve the token endpoint of section sts (RFC 8693): an agent that proves itself by its "
        "SVID in mutual TLS exchanges a principal's token for a delegation token that names both.",
    )
    end_help(
        sts,
        "authz sts authz.yaml",
        status="0 it was told to stop, 2 usage, 3 it could not start",
        note="It needs the extra sts. It watches the config's files, and takes a valid change at "
        "once.",
    )
    add_lasting_config(sts)
    _add_log_level(sts)


def _add_log_level(verb: "argparse.ArgumentParser") -> None:
    verb.add_argument(
        "--log-level",
        choices=LOG_LEVELS,
        default=os.environ.get("AUTHZ_LOG_LEVEL", "info"),
        help="the least severe log lines to write (AUTHZ_LOG_LEVEL; default: info)",
    )


def add_health(verbs: "Verbs") -> None:
    """Add the verb health."""
    health = add_verb(verbs, "health", "health", "ask a running server whether it is ready")
    end_help(
        health,
        "authz health 127.0.0.1:9192",
        status="0 it is ready, 1 it is not, or does not answer, 2 usage",
    )
    health.add_argument(
        "address",
        metavar="ADDRESS",
        nargs="?",
        default="127.0.0.1:9192",
        help="its admin address, host:port (default: %(default)s)",
    )


def add_doctor(verbs: "Verbs") -> None:
    """Add the verb doctor."""
    doctor = add_verb(
        verbs,
        "doctor",
        "doctor",
        "say what a proxy presents, and what is set wrongly on its side",
        "Say what agent-authz sees from each proxy: the caller's identity, profile, route, body "
        "and headers, and what is set wrongly on the proxy's side. Asks a running server, or reads "
        "a recorded CheckRequest.",
    )
    end_help(
        doctor,
        "authz doctor authz.yaml",
        "authz doctor authz.yaml --address 127.0.0.1:9192 --json",
        "authz doctor authz.yaml --request request.json",
        status="0 nothing is wrong, or only warnings and notes, 1 an error was found, or the "
        "config, the server or the file can't be used, 2 usage",
        note="The server keeps the last check of each kind since its start, without any secret. "
        "Send some requests through the proxy first.",
    )
    add_config(doctor)
    doctor.add_argument(
        "--address",
        default="",
        metavar="HOST:PORT",
        help="the server's admin address (default: admin.listen of the config)",
    )
    doctor.add_argument(
        "--request",
        type=Path,
        metavar="FILE",
        help="look at this CheckRequest of a proxy: protobuf, binary or text, or JSON; "
        "- for standard input",
    )
    doctor.add_argument(
        "--proxy",
        default="",
        metavar="ID",
        help="with --request: the SPIFFE ID of the proxy's certificate on server.listen",
    )
    add_json(doctor)
