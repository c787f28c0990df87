"""The core decides without the world: what importing all of it may load, and what it may not."""

import subprocess
import sys

_LOADED = """
import importlib, pkgutil, sys
import authz.core
for module in pkgutil.walk_packages(authz.core.__path__, "authz.core."):
    importlib.import_module(module.name)
print("\\n".join(sys.modules))
"""


def test_the_core_loads_nothing_that_reaches_the_world() -> None:
    """No module of another wing, no HTTP client, no gRPC and no logging comes with the core.

    What our own modules import is a contract in pyproject.toml; libraries bring their own.
    """
    done = subprocess.run(
        [sys.executable, "-c", _LOADED], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    ours = {name for name in loaded if name.split(".")[0] == "authz"}

    assert "authz.core.authorizer" in ours
    assert {".".join(name.split(".")[:2]) for name in ours} == {"authz", "authz.core", "authz._pb"}
    assert not loaded & {"urllib3", "grpc", "logging", "cel_expr_python"}
