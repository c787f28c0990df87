"""The image, as far as it can be told without an engine: its file, and its build stage replayed.

The wheel is also installed as docs/explanation/dependencies.md says, into a clean environment.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest

from authz.cli.asking import ASK_SECONDS
from support.clean_venv import ROOT, clean_environment, fetch_packages, make_venv, run
from support.dockerfile import replay, stages, steps

pytestmark = pytest.mark.timeout(600)  # the first run fetches packages, and all of them install
_EPOCH = "1700000000"
_EVERY_MODULE = """
import importlib, pkgutil, authz
for module in pkgutil.walk_packages(authz.__path__, "authz."):
    if module.name != "authz.__main__":
        importlib.import_module(module.name)
from authz.core.conditions import Condition
Condition.parse("true")
import spiffe
import opentelemetry.proto
print(authz.__file__)
"""


class Built(NamedTuple):
    """Where the image's build stage was replayed, and the packages that it could install."""

    folder: Path
    pool: Path
    environment: dict[str, str]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Give a folder for what is installed, which holds no output to search for leaked tokens."""
    with TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture(scope="module")
def built(folder: Path) -> Built:
    """Replay the image's build stage as it stands, with the time of a release."""
    image = folder / "image"
    image.mkdir()
    pool = fetch_packages()
    environment = clean_environment(image, pool, Path(sys.executable).parent)
    replay(image, environment, SOURCE_DATE_EPOCH=_EPOCH)
    return Built(image, pool, environment)


@pytest.fixture(scope="module")
def dist(folder: Path) -> Path:
    """Return the folder of what `python -m build` makes of this tree."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder / "dist")]
    run([*command, str(ROOT)], folder, os.environ | {"SOURCE_DATE_EPOCH": _EPOCH})
    return folder / "dist"


@pytest.fixture(scope="module")
def environment(folder: Path, built: Built, dist: Path) -> dict[str, str]:
    """Install the wheel into a clean virtual environment, with the command of the docs."""
    clean = clean_environment(folder, built.pool, make_venv(folder / "venv"))
    page = (ROOT / "docs" / "explanation" / "dependencies.md").read_text()
    [command] = re.findall(r"`(pip install [^`]*\.whl[^`]*)`", page)
    run(["bash", "-c", command], dist.parent, clean)
    return clean


def test_the_wheel_stands_alone(environment: dict[str, str]) -> None:
    """Every module and all extras work with what the wheel asks for, and nothing else."""
    said = run(["python", "-c", _EVERY_MODULE], Path(environment["HOME"]), environment)

    assert said.strip().startswith(environment["HOME"])


def test_the_wheel_serves(environment: dict[str, str], tmp_path: Path) -> None:
    """What `authz init` writes in a clean environment is checked, and served until it is ready."""
    config = _first_config(tmp_path, environment)

    run(["authz", "check", config], tmp_path, environment)
    with subprocess.Popen(
        ["authz", "serve", config], cwd=tmp_path, env=environment, stderr=subprocess.PIPE
    ) as server:
        try:
            address = _admin_address(server)
            assert "ready" in run(["authz", "health", address], tmp_path, environment)
        finally:
            server.terminate()
            server.communicate()
    assert server.returncode == 0


def _first_config(folder: Path, environment: dict[str, str]) -> str:
    run(["authz", "init"], folder, environment)
    config = folder / "try" / "authz.yaml"
    # Ports of its own: other tests are running.
    text = config.read_text().replace("127.0.0.1:9191", "127.0.0.1:0")
    config.write_text(f'{text}admin: {{listen: "127.0.0.1:0"}}\n')
    return "try/authz.yaml"


def _admin_address(server: "subprocess.Popen[bytes]") -> str:
    assert server.stderr is not None
    for line in server.stderr:
        if address := json.loads(line).get("admin"):
            return str(address)
    raise AssertionError("it ended")


def test_the_image_has_the_released_wheel(built: Built, dist: Path) -> None:
    """The wheel in the image is, byte for byte, the one that `python -m build` makes."""
    [ours] = dist.glob("*.whl")
    [theirs] = (built.folder / "dist").glob("*.whl")

    assert ours.name == theirs.name
    assert ours.read_bytes() == theirs.read_bytes()


def test_the_image_has_the_extras(built: Built) -> None:
    """The image has what each extra needs, and has neither pip nor tools."""
    python = str(built.folder / "opt" / "authz" / "bin" / "python")

    modules = "spiffe, cel_expr_python, opentelemetry.proto, authz.cli"
    run([python, "-c", f"import {modules}"], built.folder, built.environment)
    for name in ("pip", "setuptools", "hatchling"):
        run([python, "-c", f"import {name}"], built.folder, built.environment, status=1)


def test_the_extras_are_left_out(built: Built, folder: Path) -> None:
    """An empty build argument leaves all extras out of the image."""
    bare = _beside(built, folder / "bare")

    replay(bare, built.environment, only="$EXTRAS", EXTRAS="")
    python = str(bare / "opt" / "authz" / "bin" / "python")
    run([python, "-c", "import authz.cli"], bare, built.environment)
    for module in ("cel_expr_python", "opentelemetry", "spiffe"):
        run([python, "-c", f"import {module}"], bare, built.environment, status=1)


def test_an_unknown_extra_stops_the_build(built: Built, folder: Path) -> None:
    """A typing error in the build argument is no image without the extra."""
    wrong = _beside(built, folder / "wrong")

    with pytest.raises(subprocess.CalledProcessError) as failed:
        replay(wrong, built.environment, only="$EXTRAS", EXTRAS="cell")
    assert (
        "EXTRAS is spiffe,cel,otel,store,sts or some of these or empty, and not: cell"
        in failed.value.stderr
    )


def _beside(built: Built, folder: Path) -> Path:
    folder.mkdir()
    for name in ("dist", "wheels"):
        (folder / name).symlink_to(built.folder / name)
    return folder


def test_the_base_is_pinned_by_digest() -> None:
    """Both stages start from one image, which a digest names."""
    [(_, image)] = [step for step in steps() if step.rest.startswith("PYTHON_IMAGE=")]

    assert re.fullmatch(r"PYTHON_IMAGE=python:3\.11\.\d+-slim-\w+@sha256:[0-9a-f]{64}", image)
    assert [stage[0].rest.split()[0] for stage in stages()] == ["${PYTHON_IMAGE}"] * 2


def test_the_health_check_is_seldom() -> None:
    """The container's health check is the command's own, and no process each few seconds."""
    [check] = [step.rest for step in steps() if step.word == "HEALTHCHECK"]
    seconds = {name: int(value) for name, value in re.findall(r"--([\w-]+)=(\d+)s", check)}

    assert check.endswith('CMD ["authz", "health"]')
    assert seconds["interval"] >= 15
    assert seconds["timeout"] > ASK_SECONDS


def test_workers_have_a_folder() -> None:
    """The supervisor's folder is in the folder of sockets, which can always be written."""
    text = (ROOT / "Dockerfile").read_text()

    assert re.search(r"^ENV .*\bTMPDIR=/run/authz$", text, re.MULTILINE)
    assert re.search(r"^RUN install -d -o 65532 .* /run/authz$", text, re.MULTILINE)
    assert "--read-only --cap-drop ALL --tmpfs /run/authz:" in text


def test_what_the_image_copies_is_sent_to_the_engine() -> None:
    """The list of what the engine gets has all that the Dockerfile copies, and no more."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    copied = [
        name
        for step in steps()
        if step.word == "COPY" and not step.rest.startswith("--from")
        for name in step.rest.split()[:-1]
    ]

    assert "*" in lines
    assert sorted(line[1:] for line in lines if line.startswith("!")) == sorted(copied)
