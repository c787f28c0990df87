"""Whole files that are no config."""

from typing import Final

from support.broken.base import BASE, Whole

WHOLE: Final = {
    "empty": Whole(b"", 1, "the file is empty", "empty"),
    "comments only": Whole(b"# nothing yet\n", 1, "the file is empty", "empty"),
    "a text": Whole(b"just text\n", 1, "must be a mapping", "server:, trust_domains:"),
    "a list": Whole(b"- a\n- b\n", 1, "must be a mapping", "server:, trust_domains:"),
    "UTF-16": Whole(BASE.encode("utf-16"), 1, "not UTF-8 but UTF-16", "save it as UTF-8"),
    "Latin-1": Whole(
        BASE.replace("sa/travel", "sa/caf\xe9").encode("latin-1"),
        20,
        "byte 0xe9",
        "save the file as UTF-8",
    ),
    "NUL": Whole(b"server:\n  listen: \x00\n", 2, "control character U+0000", "not allowed"),
    "TOML": Whole(b"[server]\nlisten = 1\n", 2, "does not belong to what is above", "'key: value'"),
    "Rego": Whole(b"package authz\n\ndefault allow := false\n", 1, "must be a mapping", "server:"),
    "JSON without a comma": Whole(
        b'{\n  "server": {"listen": "unix:/a"}\n  "admin": {}\n}', 1, "does not end with }", "quote"
    ),
    "after the end": Whole(f"{BASE}...\nx: 1\n".encode(), 39, "document's end", "'key: value'"),
}
