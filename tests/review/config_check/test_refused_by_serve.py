"""What `authz serve` refuses to start with, or never has keys for, `authz check` tells before."""

import datetime as dt
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from authz.adapters.files import STABLE_SECONDS
from authz.cli import main
from authz.config import ConfigError, load
from authz.review.keys import fetch_all
from authz.server import StartError, run, run_worker
from authz.server.process import open_server
from authz.server.reload import ConfigSource
from lab.ca import Authority
from lab.issuer import Issuer
from lab.mesh import AUDIENCE, GATEWAY, ISSUER
from support.world import PATIENCE_SECONDS

# "@" stands for the test's folder, PORT for a free port.
CONFIG: Final = """\
server: {listen: "unix:@/a.sock"}
admin: {listen: "127.0.0.1:0"}
trust_domains: [corp.example]
issuers:
  - issuer: https://as.corp.example
    keys: {file: "@/jwks"}
    audiences: [https://mcp.corp.example/finance]
agents:
  - {id: spiffe://corp.example/ns/agents/sa/travel, grants: [read]}
principals:
  - match: {issuer: https://as.corp.example}
    grants: [read]
grants:
  read:
    - {hosts: [mcp.corp.example], methods: [GET], paths: [/read], scopes: []}
audit: {path: "@/audit"}
"""
LISTEN: Final = '{listen: "unix:@/a.sock"}'
KEYS: Final = '{file: "@/jwks"}'
CALLERS: Final = f"allowed_callers: ['{GATEWAY}']"


def of_tls(certificate: str = "leaf-1.pem", key: str = "leaf-1.key", ca: str = "ca.pem") -> str:
    """A server with TLS by these files."""
    files = f'certificate: "@/{certificate}", private_key: "@/{key}", client_ca: "@/{ca}"'
    return f'{{listen: "127.0.0.1:0", tls: {{{files}, {CALLERS}}}}}'


class Row(NamedTuple):
    """A change of the config, what `authz check` says of it, and the worker that meets it."""

    old: str
    new: str
    words: str
    worker: int = 0


REFUSED: Final = {
    "a long path": Row("a.sock", "x" * 120, "server.listen[0]: can't listen on unix:"),
    "a path longer than any file's": Row("a.sock", "x" * 300, "longer than 107 bytes"),
    "a file in the socket's place": Row("a.sock", "jwks", "a file is there, and not a socket"),
    "a socket twice": Row(
        LISTEN,
        '{listen: ["unix:@/a.sock", "unix:@//a.sock"]}',
        "server.listen[0] already takes it",
    ),
    "a port twice": Row(
        LISTEN, '{listen: ["127.0.0.1:PORT", "127.0.0.1:PORT"]}', "give each its own"
    ),
    "a port of all addresses": Row(
        LISTEN, '{listen: ["127.0.0.1:PORT", "0.0.0.0:PORT"]}', "give each its own"
    ),
    "a port of all IPv6 addresses": Row(
        LISTEN, '{listen: ["127.0.0.1:PORT", "[::]:PORT"]}', "give each its own"
    ),
    "the admin's port": Row(
        f'{LISTEN}\nadmin: {{listen: "127.0.0.1:0"}}',
        '{listen: "127.0.0.1:PORT"}\nadmin: {listen: "127.0.0.1:PORT"}',
        "admin.listen already takes it",
    ),
    "a port of a worker": Row(
        LISTEN,
        '{workers: 11, listen: "127.0.0.1:1000{worker}"}',
        "worker 10 can't listen on 127.0.0.1:100010: there is no port 100010",
        worker=10,
    ),
    "no IP address": Row(LISTEN, '{listen: "256.1.1.1:9191"}', "256.1.1.1 is not an IP address"),
    "a short key": Row(LISTEN, of_tls("small.pem", "small.key"), "server.tls: TLS can't use"),
    "another's key": Row(LISTEN, of_tls(key="leaf-2.key"), "server.tls.private_key: "),
    "swapped": Row(LISTEN, of_tls("leaf-1.key", "leaf-1.pem"), "server.tls.certificate: "),
    "no certificate": Row(LISTEN, of_tls("none.pem"), "server.tls.certificate: "),
    "CAs that are none": Row(LISTEN, of_tls(ca="text"), "server.tls.client_ca: "),
    "a missing extra": Row(
        LISTEN,
        f'{{listen: "127.0.0.1:0", tls: {{workload_api: "unix:@/w.sock", {CALLERS}}}}}',
        "server.tls.workload_api: the Workload API needs the extra spiffe",
    ),
    "a folder for records": Row("@/audit", "@", "audit.path: "),
    "no folder for records": Row("@/audit", "@/none/audit", "there is no folder"),
    "revocations": Row("audit:", 'revocations: {file: "@/text"}\naudit:', "revocations.file: "),
    "a short secret": Row(
        "audit:", 'token: {dpop: {nonce_secret: "@/text"}}\naudit:', "token.dpop.nonce_secret: "
    ),
    "a decision point's CAs": Row(
        "audit:",
        'pdp: {url: "https://pdp.corp.example/evaluation", ca_file: "@/text"}\naudit:',
        "pdp: ca_file",
    ),
    "no candidate": Row("audit:", 'candidate: "@/none"\naudit:', "candidate: "),
}
WITHOUT_KEYS: Final = {
    "keys of another algorithm": Row(
        KEYS, f"{KEYS}\n    algorithms: [RS256]", "issuers[0].keys.file: none of its 1 keys"
    ),
    "no JWK Set": Row("@/jwks", "@/text", "issuers[0].keys.file: "),
    "CAs": Row(
        KEYS,
        '{jwks_uri: "https://127.0.0.1:1/jwks", ca_file: "@/text"}',
        "issuers[0].keys.ca_file: no PEM certificates",
    ),
    "a bundle of another domain": Row(
        KEYS,
        '{spiffe_bundle: {trust_domain: corp.example, file: "@/bundles"}}',
        "issuers[0].keys.spiffe_bundle.file: not a SPIFFE bundle of the trust domain",
    ),
    "a first bundle without CAs": Row(
        KEYS,
        "{spiffe_bundle: {trust_domain: corp.example, endpoint: https://127.0.0.1:1/,"
        " profile: https_spiffe, endpoint_spiffe_id: spiffe://corp.example/e,"
        ' bootstrap: "@/bundle"}}',
        "issuers[0].keys.spiffe_bundle.bootstrap: the bundle has no X.509 authority",
    ),
    "an address where clouds keep secrets": Row(
        KEYS,
        '{jwks_uri: "https://169.254.169.254/jwks"}',
        "issuers[0].keys.jwks_uri: a link-local, metadata or multicast address is never asked",
    ),
    "an issuer without TLS": Row(
        f"- issuer: https://as.corp.example\n    keys: {KEYS}",
        "- issuer: http://as.corp.example\n    keys: {discovery: true}",
        "issuers[0].issuer: the issuer is a plain http URL",
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the configs name, and each config, all at rest."""
    made = tmp_path_factory.mktemp("serve")
    authority = Authority(made)
    authority.issue(GATEWAY)
    authority.issue(GATEWAY)
    (made / "jwks").write_bytes(Issuer(ISSUER, AUDIENCE).jwks())
    for name, text in {
        "text": '"no such"',
        "bundle": '{"keys": []}',
        "bundles": '{"trust_domains": {"other.example": {"keys": []}}}',
    }.items():
        (made / name).write_text(text)
    write_small(made)
    for name, row in {**REFUSED, **WITHOUT_KEYS, "right": Row("", "", "")}.items():
        text = CONFIG.replace(row.old, row.new).replace("PORT", str(free_port()))
        if "issuer: http://" in text:
            text = text.replace("{issuer: https", "{issuer: http")
        path_of(made, name).write_text(text.replace("@", str(made)))
    time.sleep(STABLE_SECONDS)  # a server waits for that with each config
    return made


def free_port() -> int:
    """Return a port that nobody has now."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        return int(held.getsockname()[1])


def path_of(folder: Path, name: str) -> Path:
    """Where the config of a row is."""
    return folder / f"{name.replace(' ', '-')}.yaml"


def write_small(folder: Path) -> None:
    """Write a certificate with an RSA key of 1024 bits."""
    key = rsa.generate_private_key(65537, 1024)
    now, nobody = dt.datetime.now(dt.UTC), x509.Name([])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(nobody)
        .issuer_name(nobody)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    (folder / "small.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "small.key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )


def served(path: Path, worker: int = 0) -> str:
    """Serve a config as `authz serve` does; return why that ends by itself, "" if it does not."""
    timer = threading.Timer(PATIENCE_SECONDS, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    try:
        if worker:
            run_worker(path, worker, "127.0.0.1:0", "0" * 16)
        else:
            run(path)
    except (ConfigError, StartError) as error:
        return str(error)
    finally:
        timer.cancel()
    return ""


@pytest.mark.parametrize("name", REFUSED)
def test_serve_refuses_and_check_says(
    folder: Path, name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A config with which no server starts fails the check, by one line: that of its fault."""
    if "extra" in name:
        monkeypatch.setitem(sys.modules, "spiffe", None)
    path, row = path_of(folder, name), REFUSED[name]

    assert served(path, row.worker)
    assert main(["check", str(path)]) == 1
    said = capsys.readouterr().err
    assert row.words in said
    assert said.startswith(f"{path}:")
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("name", WITHOUT_KEYS)
def test_keys_that_never_come(folder: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A config whose keys can't be had, whatever an issuer answers, fails the check."""
    path, row = path_of(folder, name), WITHOUT_KEYS[name]

    (found,) = fetch_all(load(path))
    assert found.error
    assert main(["check", str(path)]) == 1
    assert row.words in capsys.readouterr().err


def test_what_is_right_is_served(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The config of which these are changes is served, and nothing is said of it."""
    path = path_of(folder, "right")
    source = ConfigSource(path)
    with open_server(source.read_config(), source) as server:
        server.start()
        thread = threading.Thread(target=server.stay)
        thread.start()
        try:
            end = time.monotonic() + PATIENCE_SECONDS
            while not server.readiness()[0]:
                assert time.monotonic() < end
                time.sleep(0.01)
        finally:
            server.stop()
            thread.join()
    assert main(["check", "--strict", str(path)]) == 0
    assert capsys.readouterr().err == ""
