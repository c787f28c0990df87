"""The ``pdp`` section of the config: the decision point, its time limits, and its breaker."""

from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from authz.core.settings import Duration, FileText, MisfitError, Settings
from authz.core.urls import check_url, is_plaintext


def _endpoint(text: str) -> str:
    if urlsplit(check_url(text)).path in {"", "/"}:
        raise ValueError(
            "must be the URL of the evaluation endpoint, "
            "such as https://pdp.corp.example/access/v1/evaluation"
        )
    return text


class BreakerSettings(Settings):
    """When the server stops asking a failing decision point (a circuit breaker for each agent)."""

    failures: int = Field(default=5, ge=1, le=1000)
    """Failures in a row of one agent's questions, after which no more of them are asked."""
    pause: Duration = Field(default=5.0, ge=0.1, le=300.0)
    """How long they are not asked; then a single question tests whether it answers again."""


class PdpSettings(Settings):
    """An external decision point, asked through AuthZEN 1.0."""

    url: Annotated[str, AfterValidator(_endpoint)]
    """URL of its access evaluation endpoint, such as https://pdp.corp.example/access/v1/evaluation.
    Loopback and private addresses are accepted, for sidecars; link-local and metadata addresses are
    not.
    """
    insecure: bool = False
    """Accept plain http://: anyone on the network path can then allow."""
    ca_file: FileText | None = None
    """A file of PEM certificates to trust for the decision point, in place of the system's."""
    token_file: FileText | None = None
    """A file with a bearer token for the decision point; read at the start and when the config is
    reloaded."""
    timeout: Duration = Field(default=0.2, ge=0.005, le=2.0)
    """The longest time that a question may take. A check waits for less time if its proxy's
    deadline is earlier. By default, Envoy waits 200ms for a check; a nearby decision point needs a
    few milliseconds.
    """
    ttl: Duration = Field(default=30.0, ge=0.0, le=3600.0)
    """The longest time that its allow is cached, cache.ttl at most; 0s: ask each time."""
    breaker: BreakerSettings = BreakerSettings()
    """When the decision point is not asked."""

    @model_validator(mode="after")
    def _nobody_on_the_way(self) -> Self:
        if is_plaintext(self.url) and not self.insecure:
            raise MisfitError(
                "over plain http anyone on the network path can allow: use https, "
                "or set insecure: true",
                "url",
            )
        return self
