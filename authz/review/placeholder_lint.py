"""Warns of placeholders that a template or a shell would fill in, and that nothing here does."""

import re
from collections.abc import Iterator
from typing import Final

from authz.config import Config, Place
from authz.core.settings import Settings

# ${NAME}, {{ name }}, $(NAME), <name>; $NAME in capitals, as paths such as /$metadata are in use.
# None of them can be part of a URL, a host, a path template or a SPIFFE ID.
_PLACEHOLDER: Final = re.compile(
    r"\$\{[^{}]+\}|\{\{[^{}]+\}\}|\$\([A-Za-z_]\w*\)|\$[A-Z][A-Z0-9_]+\b|<[A-Za-z][\w .-]*>",
    re.ASCII,
)
# Texts in a language of their own, and notes for people.
_FREE: Final = frozenset({"when", "description", "owner"})


def placeholder_warnings(config: Config) -> Iterator[tuple[Place, str]]:
    """Yield the place of each text with a placeholder, and the warning."""
    if not _PLACEHOLDER.search(config.model_dump_json()):  # in no time, however long the config
        return
    for place, text in _texts(config, ()):
        if found := _PLACEHOLDER.search(text):
            yield place, f"nothing fills in {found[0]}: it is taken letter by letter"


def _texts(value: object, place: Place) -> Iterator[tuple[Place, str]]:
    """Yield each text in settings, keys of mappings too, but those that are free."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, Settings):
        for name, member in value:
            if name in value.model_fields_set and name not in _FREE:
                yield from _texts(member, (*place, name))
    elif isinstance(value, tuple):
        for at, item in enumerate(value):
            yield from _texts(item, (*place, at))
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _texts(name, (*place, name))
            yield from _texts(item, (*place, name))
