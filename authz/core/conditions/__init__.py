"""Conditions in CEL, for what lists can't say: typed at load, bounded in cost, never true by error.

A condition is compiled once, when the config is loaded, and evaluated once a decision. It has no
clock and reads no credential; ``VARIABLES`` has all that it may read.
"""

from authz.core.conditions.cel import ConditionError, ConditionFailedError
from authz.core.conditions.condition import Condition, Listed
from authz.core.conditions.settings import ConditionHeader
from authz.core.conditions.variables import ARGUMENTS, CLAIMS, HEADERS, VARIABLES

__all__ = [
    "ARGUMENTS",
    "CLAIMS",
    "HEADERS",
    "VARIABLES",
    "Condition",
    "ConditionError",
    "ConditionFailedError",
    "ConditionHeader",
    "Listed",
]
