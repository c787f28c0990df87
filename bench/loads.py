"""Puts a load on a server: by the generator in C where it was built, else by the one in Python.

The one in Python takes some 25 us of CPU a request, and one at a time as much as most servers do:
it can't ask a server of 10 us a check fast enough to keep 32 in flight, which changes how many
requests a server finds in one read. The one in C takes some 6 us.
"""

import itertools
import json
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from bench.load import Connection, LoadError, Result, Summary, closed_loop, open_loop
from bench.messages import Maker, write

METHOD: Final = "/envoy.service.auth.v3.Authorization/Check"
ALLOWED: Final = "x-agent-decision-id"
WARM: Final = 400
UNLIMITED_SECONDS: Final = 3600.0


@dataclass(frozen=True)
class Load:
    """How requests come: ``in_flight`` at a time, or ``per_second`` at random times."""

    in_flight: int = 0
    per_second: float = 0.0

    @classmethod
    def parse(cls, mode: str) -> "Load":
        """Read ``one``, a number in flight, or a number ``/s``."""
        if mode.endswith("/s"):
            return cls(per_second=float(mode.removesuffix("/s")))
        return cls(1 if mode == "one" else int(mode))

    def arguments(self) -> list[str]:
        """Return it as the generator in C reads it."""
        return ["closed", str(self.in_flight)] if self.in_flight else ["open", str(self.per_second)]


class Generator(Protocol):
    """Asks a server."""

    def __call__(
        self, address: str, make: Maker, count: int, load: Load, begin: Callable[[], None]
    ) -> Summary:
        """Make so many calls that are all allowed; ``begin`` is called when the server is warm.

        Raises LoadError.
        """


def in_python(
    address: str, make: Maker, count: int, load: Load, begin: Callable[[], None]
) -> Summary:
    """Ask from this process."""
    messages = iter([make() for _ in range(count + WARM)])
    connection = Connection(address, METHOD, ALLOWED.encode())
    try:
        closed_loop(connection, messages.__next__, WARM, 8)
        begin()
        if load.in_flight:
            result: Result = closed_loop(connection, messages.__next__, count, load.in_flight)
        else:
            result = open_loop(connection, messages.__next__, count, load.per_second)
        return result.summary()
    finally:
        connection.close()


def in_c(program: Path) -> Generator:
    """Return the generator in C."""

    def ask(
        address: str, make: Maker, count: int, load: Load, begin: Callable[[], None]
    ) -> Summary:
        with tempfile.TemporaryDirectory() as folder:
            messages = write(Path(folder) / "messages", make, count + WARM)
            asking = Asking(program, address, messages, WARM, count, load.arguments())
            asking.wait_warm()
            begin()
            told = asking.result()
        if told["allowed"]["count"] < count:
            raise LoadError(f"not the expected answers: {told}")
        allowed = told["allowed"]
        parts = (float(allowed[name]) for name in ("p50", "p99", "p999"))
        return Summary(count, float(told["seconds"]), *parts)

    return ask


class Asking:
    """A running generator in C."""

    def __init__(  # noqa: PLR0917 - what its command line has
        self,
        program: Path,
        address: str,
        messages: Path,
        warm: int,
        count: int,
        how: Sequence[str],
    ) -> None:
        """Start it; ``how`` are its last arguments."""
        path = address.removeprefix("unix:")
        numbers = (str(warm), str(count))
        self._child = subprocess.Popen(
            [str(program), path, METHOD, str(messages), ALLOWED, *numbers, *how],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_warm(self) -> None:
        """Wait until it has made the first calls. Raises LoadError."""
        assert self._child.stdout is not None
        if self._child.stdout.readline() != "ready\n":
            raise LoadError(self._child.communicate()[1].strip())

    def go(self) -> None:
        """Let it make the calls that count."""
        assert self._child.stdin is not None
        self._child.stdin.write("\n")
        self._child.stdin.flush()

    def stop(self) -> None:
        """End it early."""
        self._child.kill()
        self._child.communicate()

    def result(self, *, has_begun: bool = False) -> dict[str, Any]:
        """Return what it found, when it has made all calls. Raises LoadError."""
        out, errors = self._child.communicate(None if has_begun else "\n", UNLIMITED_SECONDS)
        if self._child.returncode:
            raise LoadError(errors.strip())
        told: dict[str, Any] = json.loads(out)
        return told


def repeated(message: bytes) -> Maker:
    """Return what makes the same message over and over."""
    return itertools.repeat(message).__next__
