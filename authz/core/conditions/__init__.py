"""Conditions in CEL, for rules that lists can't express: typed at load, bounded in cost, fail-safe.

A condition is compiled once, when the config is loaded, and evaluated once for each decision. A
failed evaluation is never true. It has no clock and reads no credential; ``VARIABLES`` lists all of
its inputs.
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
