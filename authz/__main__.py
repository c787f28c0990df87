"""Starts the command ``authz``: signals, standard files, and what libraries read when loaded."""

import gc
import os
import signal
import sys

# gRPC's newer way to accept connections costs a fifth more CPU a check (docs/performance.md). This
# only saves that: a gRPC that does not know the name ignores it, and an operator's value stays.
_EXPERIMENTS = ("GRPC_EXPERIMENTS", "-event_engine_listener")
# gRPC itself logs a line on standard error for each failed handshake, written in C by the thread
# that serves connections: any client could fill the log, and block that thread if nobody reads it.
_VERBOSITY = ("GRPC_VERBOSITY", "NONE")
# pydantic searches all installed distributions for plugins, a twentieth of the time of a config
# check. And no plugin may see a config, or change what is valid.
_PLUGINS = ("PYDANTIC_DISABLE_PLUGINS", "__all__")
_SIGNALLED = 128  # the exit status of a command that a signal ended: this plus the signal's number


def main() -> int:
    """Run the command, and return its exit status."""
    _end_on_signals()
    _hold_standard_files()
    for name, value in (_EXPERIMENTS, _VERBOSITY, _PLUGINS):
        os.environ.setdefault(name, value)
    # Loaded modules stay until the end. The collector would scan them in vain, again and again: a
    # fifth of the CPU of ``authz check``. A verb that keeps running enables it.
    gc.disable()
    from authz import cli  # noqa: PLC0415 - loaded once the above holds

    status = cli.main()
    gc.freeze()
    return status


def _end_on_signals() -> None:
    """End the process at once on Ctrl-C, and servers on SIGTERM, until others take the signals.

    While modules are loaded there is nothing to close, and KeyboardInterrupt would be a traceback.
    The first process of a container is not even ended by a SIGTERM that it does not handle.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not if ignored, by nohup
        signal.signal(signal.SIGINT, lambda number, _: os._exit(_SIGNALLED + number))
    if sys.argv[1:2] in (["serve"], ["sts"]):
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # stopped as requested


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
