"""Records to the OTLP receiver of the OpenTelemetry Collector, with the how-to's configs."""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml

from authz.adapters.audit.settings import SinkSettings
from authz.adapters.audit.sinks.network_sinks import network_sink_of
from lab.ca import Authority
from mesh.support.free_ports import free_ports
from mesh.support.tools import tool
from support.world import wait_until

PAGE = Path(__file__).parents[2] / "docs/howto/send-records-elsewhere.md"
TEXT = PAGE.read_text()
LINES = (
    '{"decision":"allow","agent":"spiffe://corp.example/a","time":"2026-11-29T16:45:00.5Z","index":7}',
    '{"decision":"deny","detail":"käse \ufeff €","time":"2026-11-29T16:45:01Z"}',
    '{"audit":"checkpoint","time":"2026-11-29T16:45:02Z","size":2,"checkpoint":"a\\n2\\n"}',
)


def blocks(language: str) -> list[str]:
    """Return the page's blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def sinks() -> dict[str, dict[str, Any]]:
    """Return the page's OTLP sinks with TLS alone, by their protocol."""
    configs = [yaml.safe_load(text) for text in blocks("yaml")]
    found = [one for config in configs if "audit" in config for one in config["audit"]["sinks"]]
    given = [one["otlp"] for one in found if "otlp" in one and "token_file" not in one["otlp"]]
    return {one.get("protocol", "grpc"): one for one in given}


@contextmanager
def collector(folder: Path, protocol: str, ports: dict[str, int]) -> Iterator[Path]:
    """Run the page's collector; yield the file that it writes."""
    (text,) = [text for text in blocks("yaml") if "receivers:" in text]
    config = yaml.safe_load(text)
    protocols = config["receivers"]["otlp"]["protocols"]
    server = Authority(folder / "pki").issue(dns=("localhost",))
    tls = {"cert_file": str(server.certificate_path), "key_file": str(server.key_path)}
    assert protocols["grpc"]["tls"].keys() == tls.keys()
    endpoint = {"endpoint": f"127.0.0.1:{ports[protocol]}", "tls": tls}
    config["receivers"]["otlp"]["protocols"] = {protocol: endpoint}
    (folder / "collector.yaml").write_text(yaml.safe_dump(config))
    written = folder / "authz.json"
    with written.open("wb") as output:
        command = [str(tool("otlp-collector")), str(folder / "collector.yaml")]
        process = subprocess.Popen(command, stdout=output)
    try:
        yield written
    finally:
        process.terminate()
        process.wait()


@pytest.mark.needs("otlp-collector")
@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_records_arrive(tmp_path: Path, protocol: str) -> None:
    """Each line arrives byte for byte, with time, severity, event and attributes."""
    ports = {protocol: free_ports(1)[0]}
    with collector(tmp_path, protocol, ports) as written:
        given = sinks()[protocol]
        path = "/v1/logs" if protocol == "http" else ""
        given["endpoint"] = f"https://localhost:{ports[protocol]}{path}"
        given["tls"] = {"ca_file": str(tmp_path / "pki" / "ca.pem")}
        sink = network_sink_of(SinkSettings.model_validate({"otlp": given}))
        sink.take("".join(f"{line}\n" for line in LINES).encode())
        wait_until(lambda: _is_flushed(sink))
        sink.close()
        (logs,) = json.loads(written.read_text())["resourceLogs"]
        records = logs["scopeLogs"][0]["logRecords"]

    bodies = [record["body"]["stringValue"] for record in records]
    assert [sha256(body.encode()).digest() for body in bodies] == [
        sha256(line.encode()).digest() for line in LINES
    ]
    assert [record["severityText"] for record in records] == ["INFO", "WARN", "INFO"]
    assert [record["eventName"] for record in records] == [
        "authz.decision",
        "authz.decision",
        "authz.audit.checkpoint",
    ]
    assert records[0]["timeUnixNano"] == "1795970700500000000"
    agent = {"key": "gen_ai.agent.id", "value": {"stringValue": "spiffe://corp.example/a"}}
    assert agent in records[0]["attributes"]


def _is_flushed(sink: Any) -> bool:
    """Try once more; a collector that has just started may not listen yet."""
    try:
        sink.flush()
    except OSError:
        return False
    return not sink.waiting
