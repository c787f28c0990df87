"""The lab fails usefully: a part that does not start or dies is named, with the end of its log."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from lab.ca import Authority
from lab.envoy import EnvoyMissingError, bootstrap, envoy_binary
from lab.mesh import GATEWAY, Mesh
from lab.processes import Process, ProcessError


def demo(**environment: str) -> subprocess.CompletedProcess[str]:
    """Run the demo in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "lab.demo"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


@pytest.mark.e2e
def test_the_demo_is_plain_when_piped() -> None:
    """Piped, the demo ends with its closing line, status 0, and has no colour in it."""
    result = demo()

    assert result.returncode == 0, result
    assert result.stdout.rstrip().endswith("58 of 58 as expected")
    assert "\x1b" not in result.stdout


@pytest.mark.e2e
def test_the_demo_names_what_failed() -> None:
    """With an Envoy that does not start the demo says so, with its log, and fails."""
    result = demo(AUTHZ_ENVOY="/bin/ls")

    assert result.returncode == 1
    assert "envoy ended with status 2; its log ends:" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_part_that_dies_is_named(tmp_path: Path) -> None:
    """A process that ends early is named, with the last lines of its log."""
    script = "print('one'); print('the reason'); raise SystemExit(4)"
    process = Process("part", [sys.executable, "-c", script], tmp_path / "log")
    with pytest.raises(ProcessError, match=r"(?s)part ended with status 4.*the reason"):
        process.wait_until(lambda: False)
    with pytest.raises(ProcessError, match="part ended"):
        process.check_alive()


def test_a_part_that_is_never_ready_is_stopped(tmp_path: Path) -> None:
    """A process that takes too long is stopped and named."""
    process = Process("part", ["sleep", "60"], tmp_path / "log")
    with pytest.raises(ProcessError, match="was not ready"):
        process.wait_until(lambda: False, seconds=0.2)

    assert process.stop() == -signal.SIGTERM


def _watch(mesh: Mesh) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        mesh.check_alive()
        time.sleep(0.02)


@pytest.mark.e2e
def test_leaving_the_mesh_stops_every_part(tmp_path: Path) -> None:
    """After the mesh nothing of it runs, though one part was killed before."""
    with Mesh(tmp_path) as mesh:
        pids = [mesh.servers[0].process.pid, mesh.envoy.process.pid]
        os.kill(pids[1], signal.SIGKILL)
        with pytest.raises(ProcessError, match="envoy ended"):
            _watch(mesh)

    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_replaced_texts_must_exist(tmp_path: Path) -> None:
    """A text that the shipped bootstrap does not have is an error, not a silent difference."""
    with pytest.raises(KeyError, match="no such text"):
        rendered(tmp_path, {"no such text": "x"})


def rendered(folder: Path, changes: Mapping[str, str] | None = None) -> str:
    """The shipped bootstrap, with a certificate that there is."""
    authority = Authority(folder)
    return bootstrap(
        server=authority.issue(GATEWAY, dns=("localhost",)),
        bundle=authority.path,
        upstream_port=1,
        sockets=[folder / "authz.sock"],
        changes=changes,
    )


@pytest.mark.e2e
def test_the_shipped_envoy_config_is_valid(tmp_path: Path) -> None:
    """Envoy takes the rendered bootstrap in its validation mode too."""
    path = tmp_path / "envoy.yaml"
    path.write_text(rendered(tmp_path))
    result = subprocess.run(
        [envoy_binary(), "--mode", "validate", "-c", str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert result.returncode == 0, result.stderr


def test_a_missing_envoy_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without an Envoy the error says how to get one."""
    monkeypatch.delenv("AUTHZ_ENVOY", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("lab.envoy.ROOT", tmp_path)
    with pytest.raises(EnvoyMissingError, match="make setup"):
        envoy_binary()
