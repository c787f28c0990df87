"""The lab's config with changes: each is made to the config as data, at a place that has to exist.

``LAB`` changes nothing. Every method returns a new builder, so a change can have a name and be the
beginning of others. The result is text again, which the server's own loader reads.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import yaml

from authz.config.yaml_document import dotted, parse

Path = tuple[str | int, ...]
Data = Any  # of YAML
Change = Callable[[Data], None]
# Places of the lab's config. In a list a text stands for the item with that id or name.
AT_ISSUER: Path = ("issuers", 0)
AT_ALICE: Path = ("principals", 0)
AT_READ_RULE: Path = ("grants", "finance-read", 0)
AT_PUBLIC_RULE: Path = ("grants", "public", 0)


@dataclass(frozen=True, slots=True)
class ConfigBuilder:
    """Changes of a config, in their order."""

    changes: tuple[Change, ...] = ()

    def with_(self, path: Path, value: object) -> Self:
        """Set a value. What is around the place has to exist, and the value to be another."""

        def change(config: Data) -> None:
            around = _at(config, path[:-1])
            step = _step(around, path)
            if isinstance(around, dict) and around.get(step, change) == value:
                raise ValueError(f"{dotted(path)} is {value!r} already")
            around[step] = _plain(value)

        return self._and(change)

    def with_yaml(self, path: Path, text: str) -> Self:
        """Set a value that is written in YAML."""
        return self.with_(path, _parsed(text))

    def with_keys(self, path: Path, text: str) -> Self:
        """Set the keys of a YAML mapping in the mapping at a place; its others stay."""
        keys = _parsed(text)
        if not isinstance(keys, dict) or not keys:
            raise ValueError(f"no keys for {dotted(path)}: {text!r}")
        changed = self
        for key, value in keys.items():
            changed = changed.with_((*path, key), value)
        return changed

    def with_items(self, path: Path, text: str, before: int = 0) -> Self:
        """Put a YAML list's items into a list, before the item of that number."""
        items = _parsed(text)

        def change(config: Data) -> None:
            found = _at(config, path)
            if not isinstance(found, list) or not items or before > len(found):
                raise ValueError(f"{dotted(path)} has no place {before} for a list's items")
            found[before:before] = _plain(items)

        return self._and(change)

    def with_routes(self, text: str) -> Self:
        """Put routes, a YAML list, before the others."""
        return self.with_items(("routes",), text)

    def with_rules(self, grant: str, text: str) -> Self:
        """Put rules, a YAML list, before the others of a grant."""
        return self.with_items(("grants", grant), text)

    def with_agents(self, text: str) -> Self:
        """Put agents, a YAML list, before the others."""
        return self.with_items(("agents",), text)

    def with_principals(self, text: str) -> Self:
        """Put entries of principals, a YAML list, before the others."""
        return self.with_items(("principals",), text)

    def with_grant(self, name: str, text: str) -> Self:
        """Add a grant that the config does not have, its rules as a YAML list."""
        return self._with_new(("grants", name), text)

    def with_profile(self, name: str, text: str) -> Self:
        """Add a profile that the config does not have, in YAML."""
        return self._with_new(("profiles", name), text)

    def with_section(self, name: str, text: str) -> Self:
        """Add a section that the config does not have, in YAML."""
        return self._with_new((name,), text)

    def without(self, path: Path) -> Self:
        """Leave out what is at a place."""

        def change(config: Data) -> None:
            around = _at(config, path[:-1])
            _at(around, path[-1:], path)
            del around[_step(around, path)]

        return self._and(change)

    def and_(self, other: "ConfigBuilder") -> Self:
        """Make another builder's changes after these."""
        return type(self)((*self.changes, *other.changes))

    def edit(self, text: str) -> str:
        """Return a config with the changes. Without any the text stays as it is."""
        if not self.changes:
            return text
        config = _parsed(text)
        for change in self.changes:
            change(config)
        return str(yaml.dump(config, Dumper=yaml.CSafeDumper, sort_keys=False, width=10**6))

    def _with_new(self, path: Path, text: str) -> Self:
        def change(config: Data) -> None:
            if path[-1] in _at(config, path[:-1]):
                raise ValueError(f"{dotted(path)} exists already")

        return self._and(change).with_yaml(path, text)

    def _and(self, change: Change) -> Self:
        return type(self)((*self.changes, change))


LAB = ConfigBuilder()


def _at(config: Data, path: Path, whole: Path = ()) -> Data:
    for number, step in enumerate(path):
        try:
            config = config[_step(config, (step,))]
        except (KeyError, IndexError, TypeError):
            raise KeyError(f"the config has no {dotted(whole or path[: number + 1])}") from None
    return config


def _step(around: Data, path: Path) -> str | int:
    """Return the last step; in a list a text stands for the item with that name or id."""
    step = path[-1]
    if isinstance(around, list) and isinstance(step, str):
        names = [_name(item) for item in around]
        if names.count(step) != 1:
            raise KeyError(f"{names.count(step)} items are named {step!r}")
        return names.index(step)
    return step


def _name(item: object) -> object:
    named: Mapping[str, object] = item if isinstance(item, dict) else {}
    return named.get("id") or named.get("name") or named.get("issuer")


def _parsed(text: str) -> Data:
    document = parse(text.encode(), "the test's YAML")
    if document.problems:
        raise ValueError("; ".join(str(problem) for problem in document.problems))
    return _plain(document.data)


def _plain(data: object) -> Data:
    """Return a copy in mutable lists: the loader's are tuples."""
    if isinstance(data, Mapping):
        return {name: _plain(value) for name, value in data.items()}
    if isinstance(data, Sequence) and not isinstance(data, str):
        return [_plain(item) for item in data]
    return data
