"""The gateway's configs that we ship are taken as they are, beside the files that they name."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lab.ca import Authority
from support.agentgateway.rig import BINARY, EDGE, ROOT

SHIPPED = ["deploy/agentgateway", "deploy/kustomize/overlays/agentgateway"]


@pytest.mark.parametrize("folder", SHIPPED)
def test_it_is_valid(tmp_path: Path, folder: str) -> None:
    """The gateway reads every member, and finds certificate, key and CA."""
    path = tmp_path / "agentgateway.yaml"
    shutil.copy(ROOT / folder / "agentgateway.yaml", path)
    assert checked(path).returncode != 0  # without the files: nothing is served without TLS
    authority = Authority(tmp_path / "pki")
    svid = authority.issue(EDGE, dns=("localhost",))
    shutil.copy(svid.certificate_path, tmp_path / "gateway.pem")
    shutil.copy(svid.key_path, tmp_path / "gateway.key")
    shutil.copy(authority.path, tmp_path / "agents-ca.pem")
    done = checked(path)

    assert done.returncode == 0, done.stderr


def checked(path: Path) -> subprocess.CompletedProcess[str]:
    """What the gateway says about a config, in the config's folder."""
    command = [os.environ[BINARY], "-f", path.name, "--validate-only"]
    return subprocess.run(
        command, cwd=path.parent, capture_output=True, text=True, timeout=60, check=False
    )
