"""The ``signals`` section: what authz check says of settings by which no signal could count."""

from pathlib import Path
from typing import Any

import pytest

from lab.ca import Authority
from lab.config_builder import LAB
from support.verbs import edit, run, write_config

ISSUER = "https://as.corp.example"
PUSH = {"push": {"path": "/events", "token_file": "HERE/token"}}
LOGOUT = {"issuer": ISSUER, "client_ids": ["c"], "path": "/logout"}
TRANSMITTER = {"issuer": ISSUER, "audiences": ["a"], **PUSH}
GOOD: dict[str, Any] = {"insecure": True, "transmitters": [TRANSMITTER], "logout": [LOGOUT]}
POLL = {"url": "https://idp.example/poll"}


def transmitter(**changes: Any) -> dict[str, Any]:
    """The good section with changes of its transmitter; None leaves a key out."""
    given = {**TRANSMITTER, **changes}
    return {**GOOD, "transmitters": [{k: v for k, v in given.items() if v is not None}]}


def check(folder: Path, signals: dict[str, Any], *, file: bool = True) -> int:
    """Check the lab's config with this section."""
    config = write_config(folder)
    (folder / "revoked").write_bytes(b"")
    (folder / "token").write_text("secret-of-the-stream")
    changes = LAB.with_(("signals",), signals)
    if file:
        changes = changes.with_(("revocations",), {"file": str(folder / "revoked")})
    edit(config, changes)
    config.write_text(config.read_text().replace("HERE", str(folder)))
    return run("check", str(config))


def test_good(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A section with push and logout, one with poll, and one that speaks of another issuer."""
    assert check(tmp_path, GOOD) == 0
    assert check(tmp_path, transmitter(push=None, poll=POLL)) == 0
    keys = {"discovery_url": "https://idp.example/.well-known/ssf-configuration"}
    other = transmitter(issuer="https://idp.example", about=ISSUER, keys=keys)
    assert check(tmp_path, other) == 0
    assert "signals" not in capsys.readouterr().err


def test_nothing_keeps_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a store and a file, what signals revoke would be lost at a restart."""
    assert check(tmp_path, GOOD, file=False) == 1
    assert "signals: what signals revoke must be kept: set store, or" in capsys.readouterr().err


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "nobody": ({"insecure": True}, "at least one of transmitters and logout is required"),
    "no TLS": ({**GOOD, "insecure": False}, "tls is required for what is posted to us"),
    "both ways": (transmitter(poll=POLL), "exactly one of push and poll is required"),
    "no way": (transmitter(push=None), "exactly one of push and poll is required"),
    "an unknown issuer": (
        transmitter(issuer="https://as.corp.exampel"),
        "transmitters[0].issuer: 'https://as.corp.exampel' is not one of the issuers",
    ),
    "a transmitter of another issuer": (
        transmitter(issuer="https://signals.example"),
        "if its events are about the tokens of another issuer, name that in about",
    ),
    "about an unknown issuer": (
        transmitter(about="https://other.example"),
        "transmitters[0].about: 'https://other.example' is not one of the issuers",
    ),
    "a logout of an unknown issuer": (
        {**GOOD, "logout": [{**LOGOUT, "issuer": "https://other.example"}]},
        "logout[0].issuer: 'https://other.example' is not one of the issuers",
    ),
    "a path twice": (
        {**GOOD, "logout": [{**LOGOUT, "path": "/events"}]},
        "logout[0].path: /events is already taken",
    ),
    "other keys of the same issuer": (
        {
            **GOOD,
            "transmitters": [
                {**TRANSMITTER, "keys": {"jwks_uri": "https://a.example/jwks"}},
                {
                    **TRANSMITTER,
                    "push": {"path": "/other", "token_file": "HERE/token"},
                    "keys": {"jwks_uri": "https://b.example/jwks"},
                },
            ],
        },
        "transmitters[1].keys: https://as.corp.example has other keys in an earlier entry",
    ),
    "plain http": (
        transmitter(push=None, poll={"url": "http://idp.example/poll"}),
        "over plain http anyone on the network path can withhold events",
    ),
    "a token over plain http": (
        transmitter(
            push=None,
            poll={
                "url": "http://idp.example/poll",
                "insecure": True,
                "token_file": "HERE/token",
            },
        ),
        "it is only sent over https",
    ),
    "a metadata address": (
        transmitter(push=None, poll={"url": "https://169.254.169.254/poll"}),
        "a link-local, metadata or multicast address is never asked",
    ),
    "HMAC": (transmitter(algorithms=["HS256"]), "HS256 is never accepted"),
    "keys of workloads": (
        transmitter(keys={"spiffe_bundle": {"trust_domain": "corp.example", "file": "HERE/token"}}),
        "a bundle has keys of workloads",
    ),
    "no certificate": (
        {
            **GOOD,
            "insecure": False,
            "tls": {"certificate": "HERE/token", "private_key": "HERE/token"},
        },
        "signals.tls: ",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str) -> None:
    """What could not work is an error at its place, with the remedy."""
    signals, told = REFUSED[what]
    assert check(tmp_path, signals) == 1
    found = capsys.readouterr().err
    assert told in found, found
    assert "secret-of-the-stream" not in found


def test_the_address_of_admin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two parts of a server can't listen on one address."""
    check(tmp_path, {**GOOD, "listen": "127.0.0.1:9199"})
    config = tmp_path / "authz.yaml"
    edit(config, LAB.with_(("admin", "listen"), "127.0.0.1:9199"))
    capsys.readouterr()

    assert run("check", str(config)) == 1
    assert "can't listen on 127.0.0.1:9199" in capsys.readouterr().err


def test_warnings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Plain HTTP on an address that others reach is probably not meant."""
    assert check(tmp_path, {**GOOD, "listen": "0.0.0.0:9193"}) == 0
    assert "signals.listen: others may reach it without TLS" in capsys.readouterr().err


def test_a_certificate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A certificate and a key that fit are fine, and a wrong client_ca is told."""
    own = Authority(tmp_path / "pki").issue("spiffe://corp.example/authz")
    tls = {"certificate": str(own.certificate_path), "private_key": str(own.key_path)}
    secure = {key: value for key, value in GOOD.items() if key != "insecure"}
    assert check(tmp_path, {**secure, "tls": tls}) == 0
    assert check(tmp_path, {**secure, "tls": {**tls, "client_ca": "HERE/token"}}) == 1
    assert "signals.tls: client_ca holds no PEM" in capsys.readouterr().err
