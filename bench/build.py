"""Builds what of the bench is not in Python, where its compilers and libraries are.

In C: an echo on libnghttp2, and the load generator. In Go: an echo and a server that decides, both
on grpc-go. Everything goes to ``.venv-peers`` in the checkout, and is built anew when its source is
newer. libnghttp2 is the system's where its header is installed; else Debian's package is unpacked
there, and not installed.
"""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

CHECKOUT: Final = Path(__file__).parents[1]
SOURCES: Final = CHECKOUT / "bench" / "peers"
BUILT: Final = CHECKOUT / ".venv-peers"
HEADER: Final = Path("/usr/include/nghttp2/nghttp2.h")
PACKAGE: Final = "libnghttp2-dev"
SECONDS: Final = 600.0  # a cold Go compiler and its modules take two minutes
C_PROGRAMS: Final = ("echo", "load")
GO_PROGRAMS: Final = ("echo", "decider")


class BuildError(RuntimeError):
    """A program can't be built here; the message says why."""


def build_c() -> Path:
    """Build the programs in C, and return their folder. Raises BuildError."""
    folder = BUILT / "c"
    sources = [SOURCES / "c" / f"{name}.c" for name in C_PROGRAMS]
    if not _is_current(folder, C_PROGRAMS, sources):
        _demand("gcc")
        folder.mkdir(parents=True, exist_ok=True)
        flags = _nghttp2()
        for name, source in zip(C_PROGRAMS, sources, strict=True):
            output = ["-o", str(folder / name), str(source)]
            _run(["gcc", "-O2", "-Wall", "-Wextra", "-D_GNU_SOURCE", *output, *flags, "-lm"])
    return folder


def build_go() -> Path:
    """Build the programs in Go, and return their folder. Raises BuildError."""
    folder, source = BUILT / "go", SOURCES / "go"
    if not _is_current(folder, GO_PROGRAMS, [*source.rglob("*.go"), source / "go.sum"]):
        _demand("go")
        folder.mkdir(parents=True, exist_ok=True)
        programs = [f"./{name}" for name in GO_PROGRAMS]
        command = ["go", "build", "-mod=readonly", "-trimpath", "-o", f"{folder}/", *programs]
        _run(command, source)
    return folder


def _is_current(folder: Path, names: Sequence[str], sources: Sequence[Path]) -> bool:
    newest = max(source.stat().st_mtime for source in sources)
    programs = [folder / name for name in names]
    return all(program.exists() and program.stat().st_mtime > newest for program in programs)


def _nghttp2() -> list[str]:
    """Return the compiler's arguments for libnghttp2."""
    if HEADER.exists():
        return ["-lnghttp2"]
    folder = BUILT / "nghttp2"
    if not folder.exists():
        _unpack(folder)
    (library,) = folder.glob("usr/lib/*/libnghttp2.a")  # static: its runtime needs no unpacking
    return [f"-I{folder / 'usr/include'}", str(library)]


def _unpack(folder: Path) -> None:
    _demand("apt-get")
    _demand("dpkg-deb")
    downloads = BUILT / "download"
    downloads.mkdir(parents=True, exist_ok=True)
    try:
        _run(["apt-get", "-qq", "download", PACKAGE], downloads)
    except BuildError:  # without lists of packages, or with old ones
        _run(["apt-get", "-qq", "update"])
        _run(["apt-get", "-qq", "download", PACKAGE], downloads)
    (package,) = downloads.glob("*.deb")
    _run(["dpkg-deb", "-x", str(package), str(folder)])
    shutil.rmtree(downloads)


def _demand(program: str) -> None:
    if shutil.which(program) is None:
        raise BuildError(f"{program} is not installed")


def _run(command: Sequence[str], folder: Path = CHECKOUT) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise BuildError(f"{command[0]} took more than {SECONDS:.0f} s") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise BuildError(f"{' '.join(command[:3])} failed: {last}")
