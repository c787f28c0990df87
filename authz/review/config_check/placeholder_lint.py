"""Warns about placeholders that a template or a shell would fill in, but this server does not."""

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
# Texts in other languages, and notes for people.
_FREE: Final = frozenset({"when", "description", "owner"})


def placeholder_warnings(config: Config) -> Iterator[tuple[Place, str]]:
    """Yield the place of each text with a placeholder, and the warning."""
    # In a very short time, however long the config.
    if not _PLACEHOLDER.search(config.model_dump_json()):
        return
    for place, text in _texts(config, ()):
        if found := _PLACEHOLDER.search(text):
            yield place, f"nothing fills in {found[0]}: it is taken letter by letter"


def _texts(value: object, place: Place) -> Iterator[tuple[Place, str]]:
    """Yield each text in settings, including keys of mappings, except free texts."""
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
