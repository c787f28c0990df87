"""The schema for editors, held against a real validator: it takes what loads, and tells typos."""

import copy
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from authz.config import schema
from authz.config.editor_schema import duration_text
from authz.core.settings import parse_duration
from lab.config_builder import LAB
from lab.mesh import CONFIG
from support.issuer_pages import is_config

ROOT = Path(__file__).parents[2]
SCHEMA = schema()
_SAVED = re.compile(r"[Ss]ave this as `authz\.yaml`[^\n]*\n\n```yaml\n([^\n]*)")
VALIDATOR = Draft202012Validator(SCHEMA)
Data = Any  # of YAML


def wrong(config: Data) -> list[str]:
    """Return what the schema has against a config."""
    return [error.message for error in VALIDATOR.iter_errors(config)]


def lab() -> Data:
    """Return the lab's config as data."""
    values = {"socket": "/s", "admin_port": 1, "drain": "1s", "jwks_uri": "x", "audit": "-"}
    return yaml.safe_load(LAB.edit(CONFIG.format(**values)))


def configs_of_docs() -> list[tuple[str, str]]:
    """Return every whole config of the docs, with its page."""
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    blocks = ((page, text) for page in pages for text in page.read_text().split("```yaml\n")[1:])
    return [(page.name, text.split("```")[0]) for page, text in blocks if is_config(text)]


def nodes(node: Data) -> Iterator[dict[str, Any]]:
    """Yield every mapping within the schema."""
    for inner in (
        node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    ):
        yield from nodes(inner)
    if isinstance(node, dict):
        yield node


def test_it_is_a_schema() -> None:
    """It is valid by its own meta-schema, and says what it is of."""
    Draft202012Validator.check_schema(SCHEMA)

    assert SCHEMA["title"] == "agent-authz config"


@pytest.mark.parametrize(("page", "text"), configs_of_docs())
def test_configs_of_the_docs_are_taken(page: str, text: str) -> None:
    """Every whole config of the docs is valid."""
    assert wrong(yaml.safe_load(text)) == [], page


def test_the_lab_is_taken() -> None:
    """The lab's config is valid."""
    assert wrong(lab()) == []


def test_a_split_config_is_taken() -> None:
    """A file that includes others may lack what they hold, and those hold nothing else."""
    whole = lab()
    parts = {name: whole.pop(name) for name in ("agents", "principals", "grants", "issuers")}

    assert wrong({"include": ["policy.d/*.yaml"], **whole}) == []
    assert wrong(parts) == []
    assert wrong({"grants": parts["grants"]}) == []
    assert wrong({"include": ["policy.d/*.yaml"]}) != []
    assert any("'agents' is a required property" in text for text in wrong(whole))
    assert any("'server' is a required property" in text for text in wrong({"agent": []}))


def _typo(place: tuple[str | int, ...], name: str) -> Callable[[Data], None]:
    def change(config: Data) -> None:
        for step in place:
            config = config[step]
        config[name] = config.pop(next(iter(config))) if isinstance(config, dict) else None

    return change


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ((), "servers"),
        (("server",), "listens"),
        (("issuers", 0, "keys"), "jwks_url"),
        (("agents", 0), "ident"),
        (("principals", 0, "match"), "iss"),
        (("grants", "finance-read", 0), "host"),
        (("grants",), "finance read"),
        (("routes", 0), "names"),
    ],
)
def test_typos_are_told(place: tuple[str | int, ...], name: str) -> None:
    """A misspelt key is refused wherever it stands."""
    config = copy.deepcopy(lab())
    _typo(place, name)(config)

    assert any(f"'{name}'" in text for text in wrong(config))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("server", "drain"), "10 seconds"),
        (("server", "drain"), 10),
        (("issuers", 0, "algorithms"), ["HS256"]),
        (("routes", 0, "protocol"), "MCP"),
        (("shadow",), "yes"),
        (("agents",), []),
    ],
)
def test_wrong_values_are_told(place: tuple[str | int, ...], value: object) -> None:
    """A value of another type, or that is not one of a list, is refused."""
    config = copy.deepcopy(lab())
    around = config
    for step in place[:-1]:
        around = around[step]
    around[place[-1]] = value

    assert len(wrong(config)) == 1


def test_no_object_takes_unknown_keys() -> None:
    """Every mapping of the config either lists its keys, or its keys are the operator's names."""
    objects = [
        node for node in nodes(SCHEMA) if node.get("type") == "object" and node is not SCHEMA
    ]

    assert len(objects) > 30
    for node in objects:
        assert node["additionalProperties"] is False or "properties" not in node


def test_each_key_has_words_for_a_hover() -> None:
    """An editor has something to show for each key: its own words, or those of its section."""
    for node in nodes(SCHEMA):
        for member in node.get("properties", {}).values() if node.get("type") == "object" else ():
            parts = [member, *member.get("anyOf", ())]
            described = [part for part in parts if "description" in part or "$ref" in part]
            assert described, member


def test_defaults_can_be_written() -> None:
    """What an editor offers as a default is valid where it offers it."""
    with_default = [node for node in nodes(SCHEMA) if "default" in node]

    assert len(with_default) > 50
    for node in with_default:
        resolved = {**node, "$defs": SCHEMA["$defs"]}
        assert Draft202012Validator(resolved).is_valid(node["default"]), node


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "200ms"), (1.0, "1s"), (86400.0, "86400s")])
def test_durations_are_written(seconds: float, text: str) -> None:
    """A duration is written as the config takes it."""
    assert duration_text(seconds) == text
    assert parse_duration(text) == seconds


def test_configs_to_save_name_the_schema() -> None:
    """A config that a page says to save begins with the line by which editors find the schema."""
    texts = (page.read_text() for page in (ROOT / "docs").rglob("*.md"))
    firsts = [line for text in texts for line in _SAVED.findall(text)]

    assert firsts
    assert {*firsts} == {"# yaml-language-server: $schema=schema.json"}
