"""Makes the sink of a receiver on the network, and loads no more than that takes."""

from authz.adapters.audit.settings import SinkSettings
from authz.adapters.audit.sinks.sink import Sink


def network_sink_of(place: SinkSettings) -> Sink:
    """Return the sink of a place with http, otlp or syslog; nothing is connected yet."""
    if place.http is not None:
        from authz.adapters.audit.sinks.http_sink import HttpSink  # noqa: PLC0415 - see above

        return HttpSink(place.http, place.label)
    if place.otlp is not None:
        from authz.adapters.audit.sinks.otlp_sink import OtlpSink  # noqa: PLC0415 - an extra

        return OtlpSink(place.otlp, place.label)
    from authz.adapters.audit.sinks.syslog_sink import SyslogSink  # noqa: PLC0415 - see above

    if place.syslog is None:
        raise ValueError("a place without a receiver")
    return SyslogSink(place.syslog)
