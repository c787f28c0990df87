"""The Lua scripts that run in the store: each operation is one of them, and so atomic."""

from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Final

import msgspec

_HEAD: Final = "head"


class Script(msgspec.Struct, frozen=True):
    """A script, and the digest by which the store knows it once it has seen the text."""

    text: bytes
    digest: str


@cache
def load_script(name: str) -> Script:
    """Load ``scripts/NAME.lua``, after the head that all scripts share."""
    folder = files("authz.adapters.store") / "scripts"
    text = b"\n".join((folder / f"{part}.lua").read_bytes() for part in (_HEAD, name))
    return Script(text, sha1(text, usedforsecurity=False).hexdigest())  # EVALSHA names it so
