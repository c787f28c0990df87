"""Finds the files that a config's settings name."""

from collections.abc import Iterator
from typing import get_args

from authz.config import Place
from authz.core.settings import Settings


def named_files(section: Settings, mark: type, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """Yield each place of a file in a section, and the file; the setting's type has the mark."""
    for name, field in type(section).model_fields.items():
        value, here = getattr(section, name), (*place, name)
        if isinstance(value, Settings):
            yield from named_files(value, mark, here)
        elif isinstance(value, tuple):
            for at, item in enumerate(value):
                if isinstance(item, Settings):
                    yield from named_files(item, mark, (*here, at))
        elif isinstance(value, str) and _is_marked([*field.metadata, field.annotation], mark):
            yield here, value


def _is_marked(annotations: list[object], mark: type) -> bool:
    """Tell whether a setting, which may be None or not, has the mark in its type."""
    parts = [part for one in annotations for part in get_args(one)]
    marks = [at for part in parts for at in getattr(part, "__metadata__", ())]
    return any(isinstance(at, mark) for at in [*annotations, *marks])
