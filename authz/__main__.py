"""Starts the command ``authz``, with the settings that gRPC reads when it is loaded."""

import os
import sys
from typing import Final

# gRPC's newer way to accept connections costs a fifth more CPU a check (docs/performance.md). This
# only saves that: a gRPC that does not know the name ignores it, and an operator's value stays.
_EXPERIMENTS: Final = ("GRPC_EXPERIMENTS", "-event_engine_listener")
# gRPC itself logs a line on standard error for each failed handshake, written in C by the thread
# that serves connections: any client could fill the log, and block that thread if nobody reads it.
_VERBOSITY: Final = ("GRPC_VERBOSITY", "NONE")


def main() -> int:
    """Run the command, and return its exit status."""
    _hold_standard_files()
    for name, value in (_EXPERIMENTS, _VERBOSITY):
        os.environ.setdefault(name, value)
    from authz import cli  # noqa: PLC0415 - loads gRPC, which reads the environment then
    from authz.server.signals import END_SECONDS, end_within  # noqa: PLC0415 - likewise

    status = cli.main()
    end_within(END_SECONDS)
    return status


def _hold_standard_files() -> None:
    """Open standard files that were closed: else a socket would get the number, and our output."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:  # ``os.open`` takes the lowest free number, which is this
            os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


if __name__ == "__main__":
    raise SystemExit(main())
