"""Make the pages of the config from its schema: an overview, and a page for each section."""

import json
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from authz.config import Config
from authz.config.described import described_schema
from authz.config.editor_schema import duration_text, is_duration
from generating.marks import MADE, anchored

FOLDER: Final = "reference/config"
OVERVIEW: Final = """\
The rules for the whole config, and its keys. Each section has a page with all of its keys.
A key can be linked to by its place: `jwks_uri` of `issuers[].keys` is
[issuers.md#issuers-keys-jwks_uri](issuers.md#issuers-keys-jwks_uri).

- Durations are a whole number and a unit: `250ms`, `30s`, `5m`, `1h`, `1d`.
- Unknown and doubled keys, anchors and tags are errors.
- Relative paths start at the working directory, those of `include` at the config's folder.
- An invalid config is never loaded: `authz check` lists every error.

An editor that knows [the schema](../../howto/editor.md) completes keys and shows these texts.

"""
HEAD: Final = "| key | type | default | meaning |\n|---|---|---|---|\n"
# The pages that say how a section is used: of the how-tos, but where a folder is named.
USED_IN: Final[dict[str, tuple[str, ...]]] = {
    "server": ("run-behind-envoy", "operate"),
    "admin": ("operate",),
    "profiles": ("choose-a-profile",),
    "token": ("routes",),
    "issuers": (
        *("which-issuer", "keys-and-certificates", "opaque-tokens", "exchange-tokens"),
        "status-lists",
    ),
    "agents": ("allow-lists",),
    "principals": ("allow-lists",),
    "grants": ("allow-lists", "tools-and-models", "budgets", "approve-calls"),
    "conditions": ("../reference/conditions",),
    "routes": ("routes", "what-upstreams-get", "tools-and-models"),
    "assertions": ("what-upstreams-get", "verify-assertions"),
    "pdp": ("decision-point",),
    "headers": ("../reference/envoy",),
    "revocations": ("revoke",),
    "consents": ("consents",),
    "key_cache": ("keys-and-certificates",),
    "cache": ("operate",),
    "replay": ("operate",),
    "signals": ("signals",),
    "sts": ("issue-delegation-tokens", "run-the-token-service"),
    "audit": (
        *("../reference/audit", "keep-the-audit-trail", "verify-the-audit-trail"),
        *("read-the-audit-trail", "send-records-elsewhere"),
        *("redact-the-audit-log", "operate"),
    ),
    "traces": ("trace",),
    "earlier_actors": ("../reference/tokens",),
}


class Shape(NamedTuple):
    """A key's type in words, the section that it leads to, and what follows its name in a place."""

    words: str
    section: dict[str, Any] | None = None
    suffix: str = ""


def config_pages() -> dict[str, str]:
    """Return the text of each page, by its file."""
    root = described_schema(Config)
    pages = {f"{FOLDER}/index.md": f"# Config\n\n{MADE}{OVERVIEW}{_table(root, root, '')}"}
    for name, member in root["properties"].items():
        shape = _shape(root, member)
        if shape.section is not None:
            pages[f"{FOLDER}/{name}.md"] = _page(root, name, shape.suffix, shape.section)
    return pages


def anchor_of(place: str) -> str:
    """Return the anchor of a place: ``issuers[].keys.jwks_uri`` is at ``issuers-keys-jwks_uri``.

    It is made of names alone, so that a link to it stays right wherever the key stands on its page.
    """
    return place.replace("[]", "").replace(".NAME", "").replace(".", "-")


def _page(root: dict[str, Any], name: str, suffix: str, node: dict[str, Any]) -> str:
    place = name + suffix
    text = f"# `{place}`\n\n{MADE}"
    if suffix:
        text += root["properties"][name]["description"].strip() + "\n\n"
    text += _see(name)
    parts = [_section(root, *part, place) for part in _sections(root, place, node)]
    return text + "\n".join(parts)


def _see(name: str) -> str:
    """Return the line that leads to the overview and to the pages that say how it is used."""
    links = [
        f"[{page.rpartition('/')[2].replace('-', ' ')}](../../howto/{page}.md)"
        for page in USED_IN.get(name, ())
    ]
    links = [link.replace("../../howto/../reference/", "../") for link in links]
    return f"[All sections](index.md){''.join(f' · {link}' for link in links)}\n\n"


def _sections(
    root: dict[str, Any], place: str, node: dict[str, Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a section and those within it, each with its place."""
    yield place, node
    for name, member in node["properties"].items():
        shape = _shape(root, member)
        if shape.section is not None:
            yield from _sections(root, f"{place}.{name}{shape.suffix}", shape.section)


def _section(root: dict[str, Any], place: str, node: dict[str, Any], page: str) -> str:
    head = "" if place == page else f"## `{place}`\n\n"
    return f"{head}{node.get('description', '').strip()}\n\n{_table(root, node, place)}"


def _table(root: dict[str, Any], node: dict[str, Any], place: str) -> str:
    return HEAD + "".join(_row(root, node, name, place) for name in node["properties"])


def _row(root: dict[str, Any], node: dict[str, Any], name: str, place: str) -> str:
    member = node["properties"][name]
    shape = _shape(root, member)
    default = "**required**" if name in node.get("required", ()) else _default(member, shape)
    meaning = member.get("description") or (shape.section or {}).get("description", "")
    text = " ".join(str(meaning).split()).replace("|", "\\|")
    key = f"{place}.{name}".strip(".")
    return f"| {anchored(anchor_of(key), name)} | {_words(key, shape)} | {default} | {text} |\n"


def _words(key: str, shape: Shape) -> str:
    """Return the type in words; "section" is a link to where the section is."""
    if shape.section is None:
        return shape.words
    place = key + shape.suffix
    at = f"#{_slug(place)}" if "." in key else f"{key}.md"
    return shape.words.replace("section", f"[section]({at})")


def _slug(place: str) -> str:
    """Return the id that forges and the site give to the heading of a place."""
    return "".join(char for char in place.lower() if char.isalnum() or char in "_-")


def _default(member: dict[str, Any], shape: Shape) -> str:
    value = member.get("default")
    if isinstance(value, dict):
        return "see there" if shape.section else ""
    if value is None or value == []:
        return ""
    if shape.words == "duration":
        return f"`{duration_text(value)}`"
    return f"`{json.dumps(value)}`"


def _shape(root: dict[str, Any], member: dict[str, Any]) -> Shape:
    if "$ref" in member:
        return Shape("section", root["$defs"][member["$ref"].rpartition("/")[2]])
    if "anyOf" in member:
        return _shape(root, next(one for one in member["anyOf"] if one.get("type") != "null"))
    if "enum" in member:
        return Shape(" or ".join(f"`{value}`" for value in member["enum"]))
    if member.get("type") == "array":
        words, section, suffix = _shape(root, member["items"])
        return Shape(f"list of {words}", section, "[]" + suffix)
    if member.get("type") == "object":
        return _names(root, member)
    return Shape("duration" if is_duration(member) else str(member.get("type", "text")))


def _names(root: dict[str, Any], member: dict[str, Any]) -> Shape:
    """Return the shape of a mapping whose keys are names that the operator chooses."""
    patterns = list(member.get("patternProperties", {}).values())
    values = patterns[0] if patterns else member.get("additionalProperties", {})
    words, section, suffix = _shape(root, values) if isinstance(values, dict) else Shape("any")
    return Shape(f"names to {words}", section, ".NAME" + suffix)
