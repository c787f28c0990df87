"""Opens the tracer of a config, and loads its libraries, which are an optional extra."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from authz.adapters.fetched import FetchError
from authz.adapters.tracing import TracesSettings
from authz.core.extras import missing_extra
from authz.wiring.files import BuildError

if TYPE_CHECKING:  # an optional extra
    from authz.adapters.tracing.exporter import TraceExporter


def open_tracer(
    settings: TracesSettings, exemplify: Callable[[bool, float, str, float], None] = lambda *_: None
) -> "TraceExporter":
    """Open the tracer; nothing is sent before its ``start``. Raises BuildError.

    ``exemplify`` is told of each check that becomes a span, as by ``TraceExporter``.
    """
    try:
        from authz.adapters.tracing.exporter import TraceExporter  # noqa: PLC0415 - optional
        from authz.adapters.tracing.sending import open_sender  # noqa: PLC0415 - likewise
    except ImportError:
        raise BuildError(missing_extra("otel", "traces need")) from None
    try:
        return TraceExporter(settings, open_sender(settings.otlp), exemplify)
    except FetchError as error:
        raise BuildError(f"traces.otlp.tls.{error}") from None
