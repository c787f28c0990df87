"""Put the text of files into the pages that show them, so that a text has one home."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_SHOWN: Final = re.compile(r"(<!-- file: (\S+) -->\n```\w+\n).*?(?=```\n)", re.DOTALL)


def with_files(page: Path, root: Path, made: Mapping[str, str]) -> str:
    """Return a page with the current text of each file that it shows.

    A block below ``<!-- file: PATH -->`` shows that file of the project: as it is, or as ``made``
    has it.
    """

    def shown(block: re.Match[str]) -> str:
        name = block[2]
        return block[1] + (made[name] if name in made else (root / name).read_text())

    return _SHOWN.sub(shown, page.read_text())
