"""The Dockerfile as data, and its build stage replayed in a folder: no engine is needed."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from support.clean_venv import ROOT

# The folders that the build stage makes at the root of its own file system.
_OWN: Final = re.compile(r"(?<![\w./-])/(opt|dist|wheels)(?=[/ \n\"]|$)")


class Step(NamedTuple):
    """An instruction: its word, and the rest as one line."""

    word: str
    rest: str


def steps() -> list[Step]:
    """Return the Dockerfile's instructions, with comments gone and lines joined."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if line.strip()]
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    joined = re.sub(r"\s*\\\n\s*", " ", text)
    return [Step(*line.split(" ", 1)) for line in joined.splitlines()]


def stages() -> list[list[Step]]:
    """Return the instructions of each stage, those before the first FROM left out."""
    found: list[list[Step]] = []
    for step in steps():
        if step.word == "FROM":
            found.append([])
        if found:
            found[-1].append(step)
    return found


def replay(
    folder: Path, environment: Mapping[str, str], *, only: str = "", **arguments: str
) -> None:
    """Replay the build stage in a folder with build arguments, or ``only`` the RUN with a word.

    Raises CalledProcessError, with the output, when a command fails.
    """
    source = folder / "src"
    source.mkdir(exist_ok=True)
    values = dict(environment)
    for step in stages()[0]:
        if step.word in {"ENV", "ARG"}:
            values |= _variables(step, arguments)
        elif step.word == "COPY" and not only:
            _copy(step.rest.split(), source)
        elif step.word == "RUN" and only in step.rest:
            command = ["sh", "-c", _OWN.sub(rf"{folder}/\1", step.rest)]
            subprocess.run(
                command, cwd=source, env=values, capture_output=True, text=True, check=True
            )


def _variables(step: Step, arguments: Mapping[str, str]) -> dict[str, str]:
    pairs = dict(word.partition("=")[::2] for word in shlex.split(step.rest))
    if step.word == "ENV":
        return pairs
    [(name, default)] = pairs.items()  # an argument without a value is no variable
    return {name: arguments.get(name, default)} if name in arguments or default else {}


def _copy(words: list[str], source: Path) -> None:
    *names, target = words
    for name in names:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.pyc")  # as .dockerignore has it
            shutil.copytree(ROOT / name, source / target, ignore=ignored)
        else:
            place = source / target / Path(name).name if target.endswith("/") else source / target
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, place)
