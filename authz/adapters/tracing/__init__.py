"""Traces: a span for each check that is not remembered, and for some of the others, sent by OTLP.

The package itself offers the settings, and loads no more: ``exporter`` sends, ``spans`` encodes.
"""

from authz.adapters.tracing.settings import TracesSettings

__all__ = ["TracesSettings"]
