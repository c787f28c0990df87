"""Opens the audit log of the token service, which may share files with the server's."""

from pathlib import Path
from socket import gethostname
from typing import Any, Final

from authz.adapters.audit import AuditSettings
from authz.adapters.audit.chain.key import ChainKeyError
from authz.adapters.audit.log import AuditLog
from authz.wiring.files import BuildError

# What a second log of the same server is called: both may be on one machine, with one config.
_OWN_NAME: Final = "sts"


def open_sts_audit(settings: AuditSettings) -> AuditLog:
    """Open the log of the token service by the config's settings. Raises BuildError."""
    try:
        return AuditLog(audit_settings(settings))
    except ChainKeyError as error:
        raise BuildError(str(error)) from None


def audit_settings(settings: AuditSettings) -> AuditSettings:
    """Return the settings of the token service's log, which may share files with the server's.

    Lines of several processes may go to one file. But a chain and a spool are one process' own.
    """
    changes: dict[str, Any] = {}
    if settings.chain is not None:
        name = f"{settings.chain.name or gethostname()}.{_OWN_NAME}"
        changes["chain"] = settings.chain.model_copy(update={"name": name})
    if settings.sinks:
        changes["sinks"] = tuple(
            sink
            if sink.spool is None
            else sink.model_copy(
                update={
                    "spool": sink.spool.model_copy(
                        update={"folder": str(Path(sink.spool.folder) / _OWN_NAME)}
                    )
                }
            )
            for sink in settings.sinks
        )
    return settings.model_copy(update=changes)
