"""The reference is complete: each key, reason and metric is in it, and can be linked to."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from authz.config import schema
from authz.core.reason import Reason
from support.serving import Serving

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
_ANCHOR = re.compile(r'<a id="([^"]+)" href="#([^"]+)">`([^`]+)`</a>')
SCHEMA = schema()
SECTIONS = sorted(path.stem for path in (REFERENCE / "config").glob("*.md"))


def anchors(page: str) -> dict[str, str]:
    """Return the anchors of a page, with the name that each stands at."""
    found = _ANCHOR.findall((REFERENCE / page).read_text())
    assert all(anchor == link for anchor, link, _ in found)
    return {anchor: name for anchor, _, name in found}


def keys_of(node: dict[str, Any], place: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield every key of the schema: the names that lead to it."""
    if "$ref" in node:
        node = SCHEMA["$defs"][node["$ref"].rpartition("/")[2]]
    for name, member in node.get("properties", {}).items():
        yield (*place, name)
        yield from keys_of(member, (*place, name))
    inner = [*node.get("anyOf", ()), *node.get("patternProperties", {}).values()]
    inner += [node[key] for key in ("items", "additionalProperties") if key in node]
    for each in inner:
        if isinstance(each, dict):
            yield from keys_of(each, place)


def test_each_key_can_be_linked_to() -> None:
    """A key's anchor is the names that lead to it: on its section's page, or on the overview."""
    keys = [*keys_of(SCHEMA)]
    pages = {page: anchors(f"config/{page}.md") for page in SECTIONS}

    assert len(keys) > 200
    for key in keys:
        page = "index" if len(key) == 1 else key[0]
        assert pages[page]["-".join(key)] == key[-1]


@pytest.mark.parametrize("page", ["reasons", "metrics", *(f"config/{name}" for name in SECTIONS)])
def test_an_anchor_is_there_once(page: str) -> None:
    """No page has the same anchor twice."""
    found = Counter(
        anchor for anchor, *_ in _ANCHOR.findall((REFERENCE / f"{page}.md").read_text())
    )

    assert [anchor for anchor, count in found.items() if count > 1] == []


def test_each_reason_can_be_linked_to() -> None:
    """A reason's anchor is its code."""
    codes = {reason.code for reason in Reason}

    assert anchors("reasons.md") == {code: code for code in codes}


def test_metrics_have_the_names_of_a_scrape(tmp_path: Path) -> None:
    """Each sample that a real server exposes is on the page by its name on the wire."""
    with Serving(tmp_path) as server:
        server.read_until("serving")
        server.ask()
        scrape = server.get("/metrics")[1]
    found = {re.split(r"[{ ]", line)[0] for line in scrape.splitlines() if line[0] != "#"}

    assert "authz_decisions_total" in found
    assert "authz_decision_duration_seconds_bucket" in found
    assert found <= anchors("metrics.md").keys()
