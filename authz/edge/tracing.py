"""Hands answered checks to a tracer, if there is one. This is the port: no tracing library here."""

from typing import Protocol

from authz.adapters.tracing.traced import TracedCheck
from authz.edge.answered import DecodedCheck
from authz.edge.rendering import RenderedDecision
from authz.edge.waits import Waits


class Tracer(Protocol):
    """Takes the checks that become spans. Many threads may call it at once.

    Attributes:
        share: the share of remembered decisions that become spans, from 0 to 1.
    """

    share: float

    def take(self, check: TracedCheck) -> None:
        """Take a check. Never waits, never raises."""


def trace_check(  # noqa: PLR0917 - hot path: keyword arguments cost more than positional ones
    tracer: Tracer,
    check: DecodedCheck,
    rendered: RenderedDecision,
    started: float,
    seconds: float,
    decision_id: str,
    is_hit: bool,  # noqa: FBT001 - likewise
    waits: Waits | None,
) -> None:
    """Hand an answered check to the tracer: only what a span needs, as the tracer keeps it.

    All further work is the tracer's: code that runs once in a hundred checks finds the processor's
    caches cold, and takes several times as long.
    """
    tracer.take(
        TracedCheck(
            check.rpc,
            check.traceparent,
            decision_id,
            started,
            seconds,
            rendered.audit,
            rendered.reason,
            is_hit,
            tuple(waits.kept) if waits is not None else (),
        )
    )
