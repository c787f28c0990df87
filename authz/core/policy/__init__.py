"""Step 3 of the pipeline, may they: default-deny allow-lists, compiled at load, found by index.

An operation is allowed when a rule of the agent and a rule of the principal both fit, each with
the scopes that it requires, and no deny of either fits. Nothing else allows.

The package itself offers the settings, and loads no more: ``policy`` evaluates them.
"""

from authz.core.policy.holder_settings import (
    AgentSettings,
    GrantName,
    PrincipalMatch,
    PrincipalSettings,
)
from authz.core.policy.settings import ConditionSettings, EarlierActorSettings, Grants, RuleSettings

__all__ = [
    "AgentSettings",
    "ConditionSettings",
    "EarlierActorSettings",
    "GrantName",
    "Grants",
    "PrincipalMatch",
    "PrincipalSettings",
    "RuleSettings",
]
