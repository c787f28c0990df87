"""The ``pdp:`` section: which decision point is asked, how long, and when no longer."""

from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from authz.core.settings import Duration, FileText, MisfitError, Settings
from authz.core.urls import check_url, is_plain


def _endpoint(text: str) -> str:
    if urlsplit(check_url(text)).path in {"", "/"}:
        raise ValueError(
            "the URL of the evaluation endpoint is needed, "
            "such as https://pdp.corp.example/access/v1/evaluation"
        )
    return text


class BreakerSettings(Settings):
    """When a decision point that fails is left alone."""

    failures: int = Field(default=5, ge=1, le=1000)
    """Failures in a row after which it is not asked."""
    pause: Duration = Field(default=5.0, ge=0.1, le=300.0)
    """How long; then one question tries whether it answers again."""


class PdpSettings(Settings):
    """An external decision point, asked by AuthZEN 1.0."""

    url: Annotated[str, AfterValidator(_endpoint)]
    """Its access evaluation endpoint, such as https://pdp.corp.example/access/v1/evaluation. A
    sidecar on loopback or a private address is fine; link-local and metadata addresses are not.
    """
    insecure: bool = False
    """Accept plain http://: whoever is on the way can then allow."""
    ca_file: FileText | None = None
    """PEM certificates to trust for it, in place of the system's."""
    token_file: FileText | None = None
    """A file with a bearer token for it; read at the start and when a config is taken."""
    timeout: Duration = Field(default=0.2, ge=0.005, le=2.0)
    """Longest time that one question takes. A check waits for less when its proxy's deadline is
    nearer. Envoy waits 200ms for us by default, and a decision point nearby needs a few.
    """
    ttl: Duration = Field(default=30.0, ge=0.0, le=3600.0)
    """Longest time that an allow of it is remembered, cache.ttl at most; 0s: ask each time."""
    breaker: BreakerSettings = BreakerSettings()
    """When it is not asked."""

    @model_validator(mode="after")
    def _nobody_on_the_way(self) -> Self:
        if is_plain(self.url) and not self.insecure:
            raise MisfitError(
                "plain http lets whoever is on the way allow: use https, or say insecure: true",
                "url",
            )
        return self
