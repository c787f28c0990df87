"""The ``traces`` section of the config."""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from authz.adapters.receiver_settings import (
    LOGS_PATH,
    TRACES_PATH,
    OtlpSettings,
    is_otlp_installed,
)
from authz.core.extras import missing_extra
from authz.core.settings import MisfitError, Settings


def _is_share(number: float) -> float:
    if not 0.0 <= number <= 1.0:  # not finite ones neither
        raise ValueError("must be a share, from 0 to 1: 0.01 is one in a hundred")
    return number


Share = Annotated[
    float, AfterValidator(_is_share), Field(json_schema_extra={"minimum": 0, "maximum": 1})
]


class TracesSettings(Settings):
    """Spans of checks, sent to a collector in batches. Off unless this section is there.

    A check that had to be decided becomes a span, unless the client's traceparent says that its
    trace is not sampled. A span has the agent, the rule and the decision, and neither a token nor
    the principal, the host or the path: the audit record with the same decision id has these.
    """

    otlp: OtlpSettings
    """The collector."""
    sampled: Share = 0.01
    """The share of the remembered decisions that become spans too, from 0 to 1."""
    service_name: str = Field(default="agent-authz", min_length=1, max_length=255)
    """The service.name of the spans."""

    @model_validator(mode="after")
    def _can_be_sent(self) -> Self:
        if not is_otlp_installed():
            raise MisfitError(missing_extra("otel", "traces need"), "otlp")
        self.otlp.require_signal(TRACES_PATH, LOGS_PATH)
        return self
