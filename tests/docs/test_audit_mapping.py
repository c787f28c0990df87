"""The mapping page has each field of the audit record, and the page of fields has its texts."""

import re
from pathlib import Path

from authz.adapters.audit.records.schema import line_schema

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
RECORD = line_schema()["$defs"]["decision"]["properties"]
_ROW = re.compile(r"^\| `(\w+)` \| (.+?) \| (.+?) \| (.+?) \|$", re.MULTILINE)
_AIMS_ROW = re.compile(r"^\| ([a-z ]+) \| (`.+`) \|$", re.MULTILINE)


def test_each_field_is_mapped() -> None:
    """A field has a name in each standard, or the page says that it has none there."""
    page = (REFERENCE / "audit-mapping.md").read_text()
    rows = {field: names for field, *names in _ROW.findall(page)}

    assert rows.keys() == RECORD.keys()
    assert all(name == "none" or name.strip() for names in rows.values() for name in names)


def test_aims_has_seven_fields() -> None:
    """Each field of AIMS section 11 is told by fields of the record."""
    page = (REFERENCE / "audit-mapping.md").read_text()
    rows = dict(_AIMS_ROW.findall(page))

    assert len(rows) == 7
    assert all(re.findall(r"`(\w+)`", ours) for ours in rows.values())


def test_each_field_is_described() -> None:
    """The page of the record's fields has the texts of the schema."""
    page = (REFERENCE / "audit.md").read_text()
    for name, member in RECORD.items():
        assert f"| `{name}` | {member['description']} |" in page
