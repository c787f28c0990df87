"""The settings of sinks on the network, and the sinks that they make."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from authz.adapters.audit.settings import SinkSettings
from authz.adapters.audit.sinks.http_sink import HttpSink
from authz.adapters.audit.sinks.network_sinks import network_sink_of
from authz.adapters.audit.sinks.otlp_sink import OtlpSink
from authz.adapters.audit.sinks.syslog_sink import SyslogSink

OTLP = {"endpoint": "https://collector.corp.example:4317"}


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"http": {"url": "https://siem.corp.example/records"}}, HttpSink),
        ({"otlp": OTLP}, OtlpSink),
        (
            {"otlp": {**OTLP, "endpoint": f"{OTLP['endpoint']}/v1/logs", "protocol": "http"}},
            OtlpSink,
        ),
        ({"syslog": {"address": "log.corp.example:6514"}}, SyslogSink),
    ],
)
def test_kinds(settings: dict[str, Any], kind: type) -> None:
    """Each kind of receiver has its sink, which connects to nobody before it has a line."""
    sink = network_sink_of(SinkSettings.model_validate(settings))
    sink.follow()
    sink.close()

    assert isinstance(sink, kind)
    assert not sink.waiting


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"endpoint": "https://collector.corp.example:4317/v1/logs"}, "the URL has no path"),
        ({"endpoint": "http://collector.corp.example:4317"}, "anyone on the network path"),
        ({"headers": {"bad header": "x"}}, "'bad header' is not a header"),
        ({"headers": {":path": "x"}}, "is not a header"),
        ({"headers": {"x-bin": "x"}}, "is not a header"),
        ({"headers": {"grpc-timeout": "x"}}, "is not a header"),
        ({"headers": {"x": "a\nb"}}, "the value of x must be visible ASCII"),
        ({"headers": {"x": "é"}}, "the value of x must be visible ASCII"),
        (
            {"headers": {"Authorization": "x"}, "token_file": "/run/token"},
            "token_file sets authorization already",
        ),
    ],
)
def test_collectors_that_cannot_be_asked(changes: dict[str, Any], words: str) -> None:
    """What no collector can be sent is a fault of the config."""
    with pytest.raises(ValidationError, match=words):
        SinkSettings.model_validate({"otlp": {**OTLP, **changes}})


def test_a_missing_extra() -> None:
    """Without the extra otel a sink by OTLP is refused, with the command that installs it."""
    code = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from authz.adapters.audit.settings import SinkSettings\n"
        "SinkSettings.model_validate({'syslog': {'address': 'log.corp.example:6514'}})\n"
        f"SinkSettings.model_validate({{'otlp': {OTLP!r}}})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert (
        "an audit sink by OTLP needs the extra otel, which is not installed: in a checkout "
        "pip install '.[otel]'"
    ) in done.stderr


def test_syslog_takes_no_library_of_otlp() -> None:
    """A sink by syslog loads no extra, and no gRPC."""
    code = (
        "import sys\n"
        "from authz.adapters.audit.sinks.network_sinks import network_sink_of\n"
        "from authz.adapters.audit.settings import SinkSettings\n"
        "network_sink_of(SinkSettings(syslog={'address': 'log.corp.example:6514'}))\n"
        "sys.exit(bool({'opentelemetry', 'grpc'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]

    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
