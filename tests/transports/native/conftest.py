"""What tests of the native transport share."""

from collections.abc import Iterator

import pytest

from support.scripted import Scripted


@pytest.fixture
def method() -> Iterator[Scripted]:
    """Who answers."""
    scripted = Scripted()
    yield scripted
    scripted.go.set()
