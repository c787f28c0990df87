"""Suggestions as a unified diff of the config's files: to review, and to apply with other tools."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from difflib import unified_diff
from pathlib import Path
from typing import Final

from authz.config import ConfigError, ConfigFiles
from authz.review.suggest import Suggestions, listed

NEW_FILE: Final = "suggested.yaml"  # beside the main file, which has to include it
# A list that stands in one line, as nearly all do.
_IN_ONE_LINE: Final = r"(?P<key>\b{key}:\s*)\[[^\[\]#]*\]"


def patch(path: Path, suggestions: Suggestions) -> Iterator[str]:
    """The lines of the diff; as comments in front of it, what could not be put into one.

    Raises ConfigError.
    """
    merged = ConfigFiles(path).read()
    if merged.problems:  # it was good a moment ago
        raise ConfigError(str(path), merged.problems)
    edits: defaultdict[str, dict[int, dict[str, list[str]]]] = defaultdict(dict)
    for (grant, number), keys in suggestions.narrower.items():
        for key, used in keys.items():
            document, place = merged.origin(("grants", grant, number, key))
            line = document.line_of(place)
            edits[document.file].setdefault(line, {})[key] = used
    diffs: list[str] = []
    for file, of_file in edits.items():
        old = Path(file).read_text(encoding="utf-8").splitlines(keepends=True)
        new = list(old)
        for line, keys in of_file.items():
            new[line - 1], left = _edited(old[line - 1], keys)
            yield from (f"# {file}:{line}: {key} could be {listed(keys[key])}" for key in left)
        diffs += unified_diff(old, new, file, file)
    if suggestions.missing:
        new = [f"{line}\n" for line in suggestions.missing]
        diffs += unified_diff([], new, "/dev/null", str(path.parent / NEW_FILE))
    yield from (line.rstrip("\n") for line in diffs)


def _edited(line: str, keys: Mapping[str, list[str]]) -> tuple[str, list[str]]:
    """A line with its lists replaced, and the keys whose list does not stand in it whole."""
    left = []
    for key, used in keys.items():
        found = re.search(_IN_ONE_LINE.format(key=key), line)
        if found is None:
            left.append(key)
        else:
            line = line[: found.end("key")] + listed(used) + line[found.end() :]
    return line, left
