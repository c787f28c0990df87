"""Which sections and keys need a restart: the pages name those that the server's log does."""

import re
from pathlib import Path
from typing import Final

import pytest

from authz.adapters.sts_settings import StsTlsSettings
from authz.server import sts_process
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


def test_the_page_of_the_token_service_names_them_all() -> None:
    """Whole sections, single keys, and of TLS all but whose agents count."""
    page = (HOW_TOS / "run-the-token-service.md").read_text()
    found = re.search(r"`sts.issuer`, (.*) and the sections (.*) need a restart", page)
    assert found is not None
    fixed = sts_process.FIXED
    assert tuple(re.findall(r"`(\w+)`", found[2])) == fixed.sections
    of_tls = {path[-1] for path in fixed.keys if path[:-1] == ("sts", "tls")}
    assert of_tls == StsTlsSettings.model_fields.keys() - {"trust_domains"}
    others = {path for path in fixed.keys if path[:-1] != ("sts", "tls")}
    assert {("sts", "tls"), *others} == set(re.findall(r"`(\w+)\.(\w+)`", found[1]))
