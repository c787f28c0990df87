"""Writes suggestions as a unified diff of the config's files, to review and to apply."""

import re
from collections import defaultdict
from collections.abc import Iterator
from difflib import unified_diff
from itertools import count
from pathlib import Path
from typing import Any, Final

from authz.config import ConfigError, ConfigFiles
from authz.config.merged import MergedConfig
from authz.config.yaml_document import YamlDocument, parse
from authz.review.suggestion.suggest import Suggestions, yaml_list

Place = tuple[str | int, ...]
_IN_ONE_LINE: Final = r"(?P<key>\b{key}:\s*)\[[^\[\]#]*\]"
_ITEM: Final = re.compile(r"(?P<dash>\s*-\s+)[^\s#&*!|>{\[][^#]*\n?")
# Line numbers are those of YAML 1.1, which has these line breaks; in a diff only a line feed
# counts.
_LINE: Final = re.compile(r".*?(?:\r\n|[\n\r\x85\u2028\u2029]|\Z)", re.DOTALL)
_DIFF_LINE: Final = re.compile(r"[^\n]*\n|[^\n]+")
_NO_END: Final = "\\ No newline at end of file"


def patch(path: Path, suggestions: Suggestions) -> Iterator[str]:
    """Yield the diff's lines; before them, as comments, the suggestions that it can't hold.

    Raises ConfigError.
    """
    merged = ConfigFiles(path).read()
    if merged.problems:  # it was valid a moment ago
        raise ConfigError(str(path), merged.problems)
    files = _EditedFiles(merged)
    for (grant, number), keys in suggestions.narrower.items():
        for key, used in keys.items():
            files.put(("grants", grant, number, key), used)
    for number, names in suggestions.held.items():
        files.put(("agents", number, "grants"), [*files.at(("agents", number, "grants")), *names])
    new_file = _unused(path.parent)
    if suggestions.missing:
        files.include(new_file.name)
    files.require_places()
    yield from files.left
    yield from files.diff()
    if suggestions.missing:
        yield from _diff("", "".join(f"{line}\n" for line in suggestions.missing), str(new_file))


def _unused(folder: Path) -> Path:
    """Return the path of a file that does not exist yet."""
    names = (f"suggested{'' if number == 1 else f'-{number}'}.yaml" for number in count(1))
    return next(folder / name for name in names if not (folder / name).exists())


class _EditedFiles:
    """A config's files as lines, in which lists are replaced.

    Attributes:
        left: the changes to lists in an unknown form, as comments.
    """

    def __init__(self, merged: MergedConfig) -> None:
        self._merged = merged
        self._old: dict[str, list[str]] = {}
        self._new: defaultdict[str, list[str]] = defaultdict(list)
        self._data: dict[str, Any] = {}
        self._told: defaultdict[str, list[str]] = defaultdict(list)
        self.left: list[str] = []

    def at(self, place: Place) -> list[str]:
        """Return the list at a place, [] if there is none."""
        value: Any = self._merged.data
        for step in place:
            if isinstance(value, dict) and step not in value:
                return []
            value = value[step]
        return list(value)

    def put(self, place: Place, texts: list[str]) -> None:
        """Replace the list at a place."""
        document, inner = self._merged.origin(place)
        line, key = document.line_of(inner), str(place[-1])
        lines = self._lines(document.file)
        told = f"# {document.file}:{line}: {key} could be {yaml_list(texts)}"
        in_one_line = list(re.finditer(_IN_ONE_LINE.format(key=key), lines[line - 1]))
        items = [document.line_of((*inner, number)) for number in range(len(self.at(place)))]
        if len(in_one_line) == 1:  # if a line has two, it is unknown which is meant
            begin, end = in_one_line[0].end("key"), in_one_line[0].end()
            lines[line - 1] = f"{lines[line - 1][:begin]}{yaml_list(texts)}{lines[line - 1][end:]}"
        elif items and line < items[0] and (dash := self._dash(document.file, items)):
            listed = "".join(f"{dash}{yaml_list([text])[1:-1]}\n" for text in texts)
            lines[items[0] - 1 : items[-1]] = [listed, *[""] * (len(items) - 1)]
        else:
            self.left.append(told)
            return
        self._note(document, inner, texts, told)

    def _note(self, document: YamlDocument, inner: Place, texts: list[str], told: str) -> None:
        """Remember what a file's data has to be once it is edited."""
        data = self._data.get(document.file, document.data)
        self._data[document.file] = _with(data, inner, tuple(texts))
        self._told[document.file].append(told)

    def require_places(self) -> None:
        """Undo the edits of each file whose data they do not change as was meant.

        A line may have what looks like the list: in a comment, in a text, of another agent.
        """
        for file, data in self._data.items():
            if parse("".join(self._new[file]).encode(), file).data != data:
                self._new[file] = list(self._old[file])
                self.left += self._told[file]

    def _dash(self, file: str, items: list[int]) -> str:
        """Return the text before each item of a list; "" unless each item is alone on a line."""
        lines = self._lines(file)[items[0] - 1 : items[-1]]
        found = [_ITEM.fullmatch(line) for line in lines]
        dashes = {match["dash"] if match else "" for match in found}
        is_plain = len(lines) == len(items) and len(dashes) == 1 and lines[-1].endswith("\n")
        return dashes.pop() if is_plain else ""

    def include(self, name: str) -> None:
        """Make the main file include another file of its folder."""
        main = self._merged.main
        patterns = self.at(("include",))
        if any(Path(name).match(pattern) for pattern in patterns if "/" not in pattern):
            return
        if patterns:
            self.put(("include",), [*patterns, name])
            return
        lines = self._lines(main.file)
        first = main.line_of((next(iter(main.data)),)) - 1
        line = f"include: {yaml_list([name])}"
        if lines[first][:1].isalpha():
            lines[first] = f"{line}\n{lines[first]}"
            self._note(main, ("include",), [name], f"# {main.file}:{first + 1}: add {line}")
        else:  # all of it in braces
            self.left.append(f"# {main.file}:{first + 1}: add {line}")

    def _lines(self, file: str) -> list[str]:
        """Return a file's lines as edited.

        A new line is added to the text of an old line, so that line numbers do not change.
        """
        if file not in self._old:
            self._old[file] = _LINE.findall(Path(file).read_bytes().decode())
            self._new[file] = list(self._old[file])
        return self._new[file]

    def diff(self) -> Iterator[str]:
        """Yield the diff of all files that changed."""
        for file, old in self._old.items():
            yield from _diff("".join(old), "".join(self._new[file]), file)


def _with(data: Any, place: Place, value: object) -> Any:  # noqa: ANN401 - of YAML
    """Return the data with another value at a place."""
    if not place:
        return value
    step, *rest = place
    if isinstance(data, dict):
        return {**data, step: _with(data.get(step), tuple(rest), value)}
    return tuple(
        _with(one, tuple(rest), value) if at == step else one for at, one in enumerate(data)
    )


def _diff(old: str, new: str, file: str) -> Iterator[str]:
    name = f"{file}\t" if " " in file else file  # a tab ends a name with spaces
    before, after = _DIFF_LINE.findall(old), _DIFF_LINE.findall(new)
    for line in unified_diff(before, after, name if before else "/dev/null", name, lineterm="\n"):
        yield line.removesuffix("\n")
        if not line.endswith("\n"):
            yield _NO_END
