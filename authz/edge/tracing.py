"""Hands answered checks to a tracer, if there is one. This is the port: no tracing library here."""

from typing import Protocol

from authz.adapters.metrics import Metrics
from authz.adapters.tracing.traced import TracedCheck
from authz.edge.answered import DecodedCheck
from authz.edge.clock import Moment
from authz.edge.rendering import RenderedDecision
from authz.edge.waits import Waits


class Tracer(Protocol):
    """Takes the checks that become spans. Many threads may call it at once.

    Attributes:
        share: the share of remembered decisions that become spans, from 0 to 1.
    """

    share: float

    def trace(self, check: TracedCheck) -> str:
        """Take a check, and return its trace id; "" if it becomes no span.

        Never waits.
        """


def trace_check(  # noqa: PLR0917 - hot path: keyword arguments cost more than positional ones
    tracer: Tracer,
    metrics: Metrics,
    check: DecodedCheck,
    rendered: RenderedDecision,
    begun: Moment,
    seconds: float,
    decision_id: str,
    is_hit: bool,  # noqa: FBT001 - likewise
    waits: Waits | None,
) -> None:
    """Have the tracer make a span of an answered check, which becomes its time's exemplar."""
    started = begun[0]
    traced = TracedCheck(
        check.rpc,
        check.traceparent,
        decision_id,
        started,
        seconds,
        rendered.audit,
        rendered.reason,
        is_hit,
        tuple(waits.kept) if waits is not None and waits.kept else (),
    )
    trace_id = tracer.trace(traced)
    if trace_id:
        metrics.exemplify(is_hit, seconds, trace_id, started + seconds)
