"""The bench measures what it says: what it replaces in the server is there."""

import pkgutil

import pytest

from bench.echo import EXECUTOR, RECORDING


@pytest.mark.parametrize("name", [EXECUTOR, *RECORDING])
def test_what_is_replaced_is_there(name: str) -> None:
    """A name that the bench replaces is one of the server's; another would make it fail late."""
    module, _, attribute = name.rpartition(".")

    assert hasattr(pkgutil.resolve_name(module), attribute)
