"""Tells which changes of a config take effect at the next start alone."""

import logging
from dataclasses import dataclass
from typing import Final

from authz.config import Config

_log: Final = logging.getLogger("authz.server")


@dataclass(frozen=True, slots=True)
class FixedParts:
    """What a reload does not put into force.

    Attributes:
        sections: whole sections.
        keys: single keys of other sections, as paths: (section, key), or longer.
    """

    sections: tuple[str, ...]
    keys: tuple[tuple[str, ...], ...]

    def warn_of_changes(self, old: Config, new: Config) -> None:
        """Log which parts stay as they were, if one of them has changed."""
        if self._of(old) != self._of(new):
            *names, last = (*self.sections, *map(".".join, self.keys))
            told = f"{', '.join(names)} and {last}"
            _log.warning("changes to %s take effect at the next start", told)

    def _of(self, config: Config) -> tuple[object, ...]:
        sections = [getattr(config, section) for section in self.sections]
        return *sections, *(_at(config, path) for path in self.keys)


def _at(config: Config, path: tuple[str, ...]) -> object:
    """Return what is at a path of a config, None where a section of it is left out."""
    found: object = config
    for name in path:
        found = getattr(found, name, None)
    return found
