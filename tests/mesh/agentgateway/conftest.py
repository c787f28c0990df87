"""The gateway of these tests: they are skipped where no binary is named."""

import os
from collections.abc import Iterator

import pytest

from support.agentgateway.rig import BINARY, Rig


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip these tests without a binary."""
    if BINARY in os.environ:
        return
    reason = f"{BINARY} names no agentgateway binary"
    for item in items:
        if "mesh/agentgateway" in item.path.as_posix():
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """The config that we ship, as it is."""
    with Rig(tmp_path_factory.mktemp("agw")) as made:
        yield made
