"""Configs as people break them: what is wrong, at which line, and words of the cause and the cure.

A corpus in tables, by what is broken. ``tests/config/test_broken_configs.py`` runs ``authz check``
on each.
"""

from support.broken.base import BASE, HERE, Broken, Whole
from support.broken.files import WHOLE
from support.broken.keys import KEYS
from support.broken.names import NAMES
from support.broken.receivers import RECEIVERS
from support.broken.values import VALUES
from support.broken.yaml_slips import YAML

BROKEN: dict[str, tuple[Broken, ...]] = {
    "keys": KEYS,
    "values": VALUES,
    "names": NAMES,
    "receivers": RECEIVERS,
    "yaml": YAML,
}

__all__ = ["BASE", "BROKEN", "HERE", "WHOLE", "Broken", "Whole"]
