"""The environment of a child process of Python that imports what tests share."""

import os
from pathlib import Path
from typing import Final

_TESTS: Final = Path(__file__).parents[1]


def with_support() -> dict[str, str]:
    """Return our environment, in which `support`, the lab and the server can be imported."""
    before = os.environ.get("PYTHONPATH")
    paths = [str(_TESTS), str(_TESTS.parent), *([before] if before else [])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
