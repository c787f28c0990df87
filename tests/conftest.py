"""What tests share: a mesh behind a real Envoy, and the server's core without a transport."""

import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, is_hypothesis_test, settings

from lab.mesh import Mesh
from support.audit_schema import require_valid_file
from support.canary import canary
from support.verbs import write_config
from support.world import World

# On a busy machine any example may take long. Fixtures may be shared by examples.
settings.register_profile(
    "suite",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("suite")


def pytest_configure(config: pytest.Config) -> None:
    """Look for tokens in every output of the whole run."""
    config.pluginmanager.register(canary)


# Begun first, so that none of the processes is left alone with one at the end.
_LONG = {
    *("test_image.py", "test_freshness.py", "test_policy_model.py", "test_init.py", "test_fuzz.py"),
    *("test_company.py", "test_liveness.py", "test_large_config.py", "test_release.py"),
    *("test_suggested_width.py", "test_trace_export.py", "test_audit_chain.py", "test_cli.py"),
    *("test_replicas.py", "test_store_failover.py"),
}


@pytest.hookimpl(tryfirst=True)  # before it is chosen by marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long files first, and mark what asks for a mesh: it needs an Envoy."""
    items.sort(key=lambda item: item.path.name not in _LONG)
    for item in items:
        if {"mesh", "trips"} & {*getattr(item, "fixturenames", ())}:
            item.add_marker(pytest.mark.e2e)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Measure no coverage of what a test draws at random: that would be another one in each run.

    It would take twice as long, too. Only the test's own thread is left out.
    """
    tracer = sys.gettrace()
    is_drawn = is_hypothesis_test(getattr(item, "obj", None)) or item.get_closest_marker("drawn")
    if not is_drawn or not type(tracer).__module__.startswith("coverage"):  # a debugger's stays
        return (yield)
    sys.settrace(None)
    try:
        return (yield)
    finally:
        sys.settrace(tracer)


@pytest.fixture(scope="session")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """Everything running behind a real Envoy, for all tests that change none of it."""
    with Mesh(tmp_path_factory.mktemp("mesh")) as running:
        yield running
        for server in running.servers:
            for page in ("/metrics", "/presented"):
                canary.note(page, server.get(page)[1].encode())
            require_valid_file(server.audit)


@pytest.fixture(scope="session")
def trips(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """Likewise, with an MCP server behind Envoy."""
    with Mesh(tmp_path_factory.mktemp("trips"), with_mcp=True) as running:
        yield running
        for server in running.servers:
            for page in ("/metrics", "/presented"):
                canary.note(page, server.get(page)[1].encode())
            require_valid_file(server.audit)


@pytest.fixture(scope="session")
def shared_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The core with real keys and certificates, for tests that change none of it."""
    with World(tmp_path_factory.mktemp("world")) as world:
        yield world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A core of one's own, whose keys, config and clock of events may be changed."""
    with World(tmp_path) as own:
        yield own


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A good config file, for the command's verbs."""
    return write_config(tmp_path)
