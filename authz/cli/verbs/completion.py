"""``authz completion``: prints a script that has a shell complete the command."""

import argparse

from argcomplete.shell_integration import shellcode

from authz.cli.common import FINE


def run(options: argparse.Namespace) -> int:
    """Print the script, and return the exit status."""
    print(shellcode(["authz"], shell=options.shell).strip())
    return FINE
