"""A SPIRE with the entries of the how-to, and agent-authz and Envoy on it."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from mesh.support.spire import Spire
from mesh.support.spire_mesh import TRUST_DOMAIN, SpireMesh, enter_workloads


@pytest.fixture(scope="session")
def corp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SpireMesh]:
    """Everything of one trust domain, running; tests leave it as they found it."""
    folder = tmp_path_factory.mktemp("corp")
    with ExitStack() as stack:
        spire = Spire(folder / "spire", TRUST_DOMAIN)
        stack.callback(spire.stop)
        enter_workloads(spire.start())
        yield stack.enter_context(SpireMesh(folder, spire))
