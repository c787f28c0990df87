"""The files of receivers of records, checkpoints and spans are checked before they are needed."""

import json
import re
from pathlib import Path

import pytest

from authz.adapters.receiver_settings import OtlpSettings
from authz.adapters.tracing import TracesSettings
from authz.wiring.files import BuildError
from authz.wiring.tracing import open_tracer
from lab.ca import Authority
from support.broken import BASE
from support.verbs import run

HTTP = "http: {{url: 'https://siem.corp.example/', {}}}"
OTLP = "otlp: {{endpoint: 'https://siem.corp.example', {}}}"
SYSLOG = "syslog: {{address: 'siem.corp.example:6514', {}}}"
CA = "tls: {ca_file: 'HERE/text'}"
CLIENT = "tls: {client: {certificate: 'HERE/leaf-1.pem', private_key: 'HERE/text'}}"
TOKEN = "token_file: 'HERE/text'"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a certificate, a key, and a file that holds neither."""
    authority = Authority(tmp_path)
    authority.issue("spiffe://corp.example/authz")
    (tmp_path / "text").write_text("SECRET text")
    (tmp_path / "log.key").write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param(f"audit: {{sinks: [{{{kind.format(what)}}}]}}", told, id=f"{kind[:4]}-{told}")
        for kind in (HTTP, OTLP, SYSLOG)
        for what, told in (
            (CA, "tls.ca_file: no PEM certificates"),
            (CLIENT, "tls: private_key: "),
            (TOKEN, "token_file: must hold a bearer token"),
        )
        if kind != SYSLOG or what != TOKEN
    ]
    + [
        pytest.param(f"traces: {{{OTLP.format(CA)}}}", "traces.otlp.tls.ca_file: no PEM", id="ca"),
        pytest.param(f"traces: {{{OTLP.format(CLIENT)}}}", "traces.otlp.tls: priv", id="client"),
        pytest.param(f"traces: {{{OTLP.format(TOKEN)}}}", "token_file: must hold", id="token"),
        pytest.param(
            "audit: {chain: {key: 'HERE/chain.key', witnesses: [{url: 'https://w.example', "
            f"{CA}}}]}}}}",
            "audit.chain.witnesses[0].tls.ca_file: no PEM",
            id="witness",
        ),
    ],
)
def test_a_wrong_file(
    folder: Path, capsys: pytest.CaptureFixture[str], text: str, told: str
) -> None:
    """A file that holds something else is an error at its setting, which repeats none of it."""
    assert run("audit", "key", str(folder / "chain.key")) == 0
    config = f"{BASE}\n{text}\n".replace("HERE", str(folder))
    (folder / "authz.yaml").write_text(config)
    capsys.readouterr()

    assert run("check", str(folder / "authz.yaml")) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if "note: " not in line]
    assert len(lines) == 1
    assert re.match(rf".*authz\.yaml:{config.count(chr(10))}: ", lines[0])
    assert told in lines[0]
    assert "SECRET" not in lines[0]


def test_a_start_agrees(folder: Path) -> None:
    """The server does not start with certificates for traces that check refuses."""
    otlp = OtlpSettings.model_validate(
        {"endpoint": "https://a.example", "tls": {"ca_file": str(folder / "text")}}
    )
    with pytest.raises(BuildError, match="no PEM certificates"):
        open_tracer(TracesSettings(otlp=otlp))


def test_the_editor_knows_the_range(capsys: pytest.CaptureFixture[str]) -> None:
    """The schema for editors has the bounds of a share."""
    assert run("schema") == 0
    sampled = json.loads(capsys.readouterr().out)["$defs"]["TracesSettings"]["properties"][
        "sampled"
    ]
    assert (sampled["minimum"], sampled["maximum"]) == (0, 1)


@pytest.mark.parametrize("target", ["spool", "nowhere"])
def test_a_spool_that_is_a_link(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], target: str
) -> None:
    """A link that leads to no folder can't become one: a start would fail."""
    (tmp_path / "spool").symlink_to(tmp_path / target)
    sink = f"http: {{url: 'https://a.example/'}}, spool: {{folder: '{tmp_path}/spool'}}"
    (tmp_path / "authz.yaml").write_text(f"{BASE}\naudit: {{sinks: [{{{sink}}}]}}\n")

    assert run("check", str(tmp_path / "authz.yaml")) == 1
    assert "spool.folder: " in (told := capsys.readouterr().err)
    assert "is not a folder: name one that only this spool uses" in told
