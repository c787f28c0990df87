"""The audit log: a JSON line for each decision, written by a thread that no check waits for.

The package itself offers the settings, and loads no more: ``log`` is the log, ``record`` its lines.
"""

from authz.adapters.audit.settings import AuditSettings

__all__ = ["AuditSettings"]
