"""Merges the files of a config: appends lists, joins mappings, and keeps each place's file."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from authz.config.nearest import nearest
from authz.config.other_names import advice
from authz.config.problems import Problem
from authz.config.yaml_document import Place, YamlDocument, dotted

LISTS: Final = ("agents", "principals", "routes", "issuers")
MAPPINGS: Final = ("grants",)
# The sections that an included file may hold: the policy. The server's settings are only in the
# main file.
SECTIONS: Final = frozenset((*LISTS, *MAPPINGS))


class MergedConfig:
    """The data of all files, and the file in which each place of it is written.

    Attributes:
        data: the whole config's data.
        problems: errors in the files' YAML, and errors that prevented merging.
        is_whole: whether every file could be read; ``problems`` says which could not.
    """

    def __init__(self, main: YamlDocument, included: Iterable[YamlDocument] = ()) -> None:
        """Merge ``main``, whose data is a mapping, with ``included`` in their order."""
        self.main = main
        self.is_whole = True
        self.data: dict[str, Any] = dict(main.data)
        self.problems: list[Problem] = list(main.problems)
        self._begins: dict[str, list[tuple[int, YamlDocument]]] = {name: [] for name in LISTS}
        self._owners: dict[tuple[str, str], YamlDocument] = {}
        for document in included:
            self.problems.extend(document.problems)
            if isinstance(document.data, dict):
                self._add(document)
            elif document.data is not None or not document.problems:
                message = f"an included file must be a mapping of {_listed(SECTIONS)}"
                self.problems.append(document.problem((), message))

    def _add(self, document: YamlDocument) -> None:
        for section, value in document.data.items():
            if section in LISTS and isinstance(value, tuple):
                self._append(document, section, value)
            elif section in MAPPINGS and isinstance(value, dict):
                self._join(document, section, value)
            else:
                self.problems.append(document.problem((section,), _refusal(section)))

    def _append(self, document: YamlDocument, section: str, items: tuple[Any, ...]) -> None:
        before = self.data.get(section, ())
        # Otherwise it is a mistake in the main file, which the check of its types reports.
        if isinstance(before, tuple):
            self._begins[section].append((len(before), document))
            self.data[section] = before + items

    def _join(self, document: YamlDocument, section: str, members: Mapping[str, Any]) -> None:
        before = self.data.get(section, {})
        if not isinstance(before, dict):
            return
        joined = dict(before)
        for name, value in members.items():
            if name in joined:
                message = f"{name} is already defined {self.where((section, name), document)}"
                self.problems.append(document.problem((section, name), message))
                continue
            joined[name] = value
            self._owners[section, name] = document
        self.data[section] = joined

    def origin(self, place: Place) -> tuple[YamlDocument, Place]:
        """Return the file in which a place is written, and the place within that file."""
        if len(place) < 2:  # noqa: PLR2004 - a section as a whole: the main file's
            return self.main, place
        section, step, *rest = place
        if isinstance(step, str):
            return self._owners.get((str(section), step), self.main), place
        for begin, document in reversed(self._begins.get(str(section), [])):
            if step >= begin:
                return document, (section, step - begin, *rest)
        return self.main, place

    def problem(self, place: Place, message: str) -> Problem:
        """Return a problem with a place, in the file where the place is written."""
        document, inner = self.origin(place)
        return document.problem(inner, message)

    def problem_within(self, place: Place, message: str, text: str, offset: int) -> Problem:
        """Return a problem with a character of the text at a place, with that character's line."""
        document, inner = self.origin(place)
        line = document.line_within(inner, text, offset)
        return Problem(document.file, line, dotted(inner), message)

    def where(self, place: Place, seen_from: YamlDocument) -> str:
        """Describe a place by its line, and its file if not ``seen_from``: "on line 7"."""
        document, inner = self.origin(place)
        line = document.line_of(inner)
        return f"on line {line}" if document is seen_from else f"in {document.file}:{line}"


def _refusal(section: str) -> str:
    if section in LISTS:
        return "must be a list: each item on a line of its own, after '- '"
    if section in MAPPINGS:
        return "must be a mapping of names, each with its list"
    suggestion = advice(section, SECTIONS) or nearest(section, SECTIONS)
    known = f"an included file may hold only {_listed(SECTIONS)}"
    return (
        f"unknown key{suggestion}" if suggestion else f"{known}; other keys belong in the main file"
    )


def _listed(names: Iterable[str]) -> str:
    *first, last = sorted(names)
    return f"{', '.join(first)} and {last}"
