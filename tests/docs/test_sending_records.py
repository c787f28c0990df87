"""The how-to for sending records elsewhere: its configs reach real receivers."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from authz.adapters.audit.settings import SinkSettings
from authz.adapters.audit.sinks.line_facts import LineFacts
from authz.adapters.audit.sinks.network_sinks import network_sink_of
from authz.adapters.audit.sinks.otlp_record import ATTRIBUTES, CALL_NAMES
from authz.adapters.receivers.otlp_verdict import (
    OURS_CODES,
    RETRYABLE_CODES,
    RETRYABLE_STATUSES,
)
from lab.ca import Authority, Svid
from support.record_receiver import RecordReceiver
from support.rsyslog import Rsyslog

PAGE = Path(__file__).parents[2] / "docs/howto/send-records-elsewhere.md"
TEXT = PAGE.read_text()
LINES = (
    '{"decision":"allow","time":"2026-11-29T16:45:00Z"}',
    '{"decision":"deny","detail":"käse \ufeff €","time":"2026-11-29T16:45:01Z"}',
)


def blocks(language: str) -> list[str]:
    """Return the page's blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def places(kind: str) -> list[dict[str, Any]]:
    """Return the page's sinks of a kind."""
    configs = [yaml.safe_load(text) for text in blocks("yaml")]
    sinks = [sink for config in configs if "audit" in config for sink in config["audit"]["sinks"]]
    return [sink for sink in sinks if kind in sink]


def send(place: dict[str, Any]) -> None:
    """Send the lines to a place."""
    sink = network_sink_of(SinkSettings.model_validate(place))
    sink.follow()
    sink.take("".join(f"{line}\n" for line in LINES).encode())
    sink.flush()
    sink.close()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """The company's CA."""
    return Authority(tmp_path / "pki")


@pytest.fixture
def server(authority: Authority) -> Svid:
    """The receiver's certificate."""
    return authority.issue(dns=("localhost",))


@pytest.fixture
def siem(server: Svid) -> Iterator[RecordReceiver]:
    """A receiver of batches."""
    receiver = RecordReceiver(server)
    yield receiver
    receiver.stop()


def test_rsyslog(tmp_path: Path, authority: Authority, server: Svid) -> None:
    """The config for rsyslog and ours work together: its file has our lines, byte for byte."""
    (config,) = blocks("rsyslog")
    kept = tmp_path / "kept.jsonl"
    for theirs, ours in {
        "/etc/rsyslog/clients-ca.pem": str(authority.path),
        "/etc/rsyslog/server.pem": str(server.certificate_path),
        "/etc/rsyslog/server.key": str(server.key_path),
        "/var/log/agent-authz.jsonl": str(kept),
        "{": "{{",
        "}": "}}",
        'port="6514"': 'address="127.0.0.1" port="{port}" listenPortFileName="{folder}/port"',
    }.items():
        assert theirs in config
        config = config.replace(theirs, ours)
    (place,) = places("syslog")
    client = authority.issue("spiffe://corp.example/authz")
    with Rsyslog(tmp_path / "rsyslog", config=config) as rsyslog:
        syslog = place["syslog"]
        syslog["address"] = f"localhost:{rsyslog.address.rpartition(':')[2]}"
        syslog["tls"] = {
            "ca_file": str(authority.path),
            "client": {
                "certificate": str(client.certificate_path),
                "private_key": str(client.key_path),
            },
        }
        send(place)
        rsyslog.stop()  # which writes what it has read

    assert kept.read_text() == "".join(f"{line}\n" for line in LINES)
    assert kept.stat().st_mode & 0o777 == 0o600


def test_http(tmp_path: Path, authority: Authority, siem: RecordReceiver) -> None:
    """The config for a SIEM sends JSON lines with the token."""
    (place,) = places("http")
    (tmp_path / "token").write_text("secret")
    place["http"] |= {
        "url": siem.url,
        "token_file": str(tmp_path / "token"),
        "tls": {"ca_file": str(authority.path)},
    }
    send(place)

    assert siem.lines() == list(LINES)
    assert siem.taken[0].headers["authorization"] == "Bearer secret"


def test_what_the_page_says_of_otlp() -> None:
    """The tables have every answer that keeps records, and every attribute."""
    for code in RETRYABLE_CODES | OURS_CODES:
        assert f"`{code}`" in TEXT
    for status in RETRYABLE_STATUSES:
        assert str(status) in TEXT
    for member, name in ATTRIBUTES.items():
        assert f"`{name}` | `{member}` |" in TEXT
        assert member in LineFacts.__struct_fields__
    for name in CALL_NAMES.values():
        assert f"`{name}`" in TEXT


def test_jq(tmp_path: Path) -> None:
    """The command takes the lines out of what a collector's file exporter has written."""
    if shutil.which("jq") is None:
        pytest.skip("no jq")
    (command,) = [text for text in blocks("sh") if "jq" in text]
    records = [{"body": {"stringValue": line}} for line in LINES]
    written = {"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]}
    (tmp_path / "authz.json").write_text(json.dumps(written) + "\n")
    subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True)

    assert (tmp_path / "authz.jsonl").read_text() == "".join(f"{line}\n" for line in LINES)
