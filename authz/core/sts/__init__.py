"""The token service (RFC 8693): decides which delegation tokens of our own an agent gets.

``service`` decides a request, which ``request`` reads. This package's name has the settings alone.
"""

from authz.core.sts.settings import (
    Binding,
    IdTokenSettings,
    SubjectSettings,
    TokenRuleSettings,
    TokenServiceSettings,
)

__all__ = [
    "Binding",
    "IdTokenSettings",
    "SubjectSettings",
    "TokenRuleSettings",
    "TokenServiceSettings",
]
