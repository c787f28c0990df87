"""Which sections and keys need a restart: the pages name those that the server's log does."""

import re
from pathlib import Path
from typing import Final

import pytest

from authz.server.process import FIXED

HOW_TOS: Final = Path(__file__).parents[2] / "docs" / "howto"
SENTENCE: Final = re.compile(
    r"^(?:Changes to|- The sections) (.*?) (?:take effect|need)\b", re.DOTALL | re.MULTILINE
)


@pytest.mark.parametrize("page", ["operate.md", "kubernetes.md"])
def test_a_page_names_them_all(page: str) -> None:
    """In the server's order, none left out."""
    found = SENTENCE.search((HOW_TOS / page).read_text())
    assert found is not None
    assert tuple(re.findall(r"`(\w+)`", found[1])) == FIXED.sections
    assert tuple(re.findall(r"`(\w+)\.(\w+)`", found[1])) == FIXED.keys
