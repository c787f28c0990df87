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
        from authz.adapters.receivers.otlp import check_tls, open_exporter  # noqa: PLC0415 - optional
        from authz.adapters.receivers.otlp_signals import TRACES  # noqa: PLC0415 - likewise
        from authz.adapters.tracing.exporter import TraceExporter  # noqa: PLC0415 - likewise
    except ImportError:
        raise BuildError(missing_extra("otel", "traces need")) from None
    try:
        check_tls(settings.otlp)
    except FetchError as error:
        raise BuildError(f"traces.otlp.tls.{error}") from None
    return TraceExporter(settings, open_exporter(settings.otlp, TRACES), exemplify)
