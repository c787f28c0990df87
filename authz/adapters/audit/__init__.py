"""The audit log: a JSON line for each decision, written by a thread of its own.

The package itself offers the settings, and loads no more: ``log`` is the log, ``record`` its lines.
"""

from authz.adapters.audit.settings import AuditSettings

__all__ = ["AuditSettings"]
