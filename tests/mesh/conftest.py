"""What tests of the mesh share: they are skipped, or fail, without the programs that they name."""

import pytest

from mesh.support.tools import missing_of, must_be_there


def pytest_configure(config: pytest.Config) -> None:
    """Declare the mark by which a test names programs."""
    line = "needs(*names): programs of .venv-mesh/bin or PATH; root is the right to change groups"
    config.addinivalue_line("markers", line)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test without its programs, or fail it where they must be there."""
    names = tuple(name for mark in item.iter_markers("needs") for name in mark.args)
    missing = missing_of(names)
    if not missing:
        return
    words = f"needs {', '.join(missing)}; 'make mesh-tools' builds programs"
    if must_be_there(names):
        pytest.fail(words)
    pytest.skip(words)
