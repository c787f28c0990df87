"""Reasons: a closed list, each of which some check gives."""

import re
from pathlib import Path

import authz
from authz.core.reason import Reason

SOURCES = Path(authz.__file__).parent


def test_every_reason_is_given() -> None:
    """No reason is on the reference page that nothing in the code raises."""
    reviews = SOURCES / "review"  # speak of reasons, and give none
    sources = [path for path in SOURCES.rglob("*.py") if not path.is_relative_to(reviews)]
    texts = [path.read_text() for path in sources if path.name != "reason.py"]
    named = {name for text in texts for name in re.findall(r"Reason\.([A-Z_]+)", text)}

    assert named == {reason.name for reason in Reason}
