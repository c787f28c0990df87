"""Tells whether a process is ready, and the results that /readyz shows."""

from typing import TYPE_CHECKING, Any

from authz.server.liveness import Liveness

if TYPE_CHECKING:  # a server loads nothing of the token service, nor that of the server
    from authz.wiring.parts import Parts
    from authz.wiring.sts import StsParts


def readiness_of(
    parts: "Parts | StsParts", liveness: Liveness, *, is_listening: bool, is_stopping: bool
) -> tuple[bool, dict[str, Any]]:
    """Return whether new requests are wanted here, and each result by its name."""
    audit, revocations = parts.audit.status(), parts.shared.revocations
    is_stuck = liveness.stuck()
    checks = {
        "config": True,
        "keys": is_listening or parts.keys.ready(),
        "listening": is_listening,
        "stopping": is_stopping,
        "stuck": is_stuck,
        "sources": parts.keys.status(),
    }
    if audit.is_failing:
        checks["audit"] = False
    if revocations.store is not None:
        checks["store"] = revocations.store.is_current
    is_wanted = is_listening and not is_stopping and not is_stuck
    return is_wanted and not audit.refuses_allows and revocations.is_ready, checks
