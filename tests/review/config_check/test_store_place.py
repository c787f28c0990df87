"""A store that a server could never use: `authz check` says so before it starts."""

from pathlib import Path

import pytest

from authz.adapters.store import StoreSettings
from lab.config_builder import LAB
from support.verbs import edit, run, write_config


@pytest.mark.parametrize(
    "url",
    [
        "rediss://valkey.corp.example:0",  # no server listens there
        "rediss://valkey.corp.example :6379",
        f"rediss://{'a' * 64}.example:6379",  # a label is shorter (RFC 1035 section 2.3.4)
        "rediss://valkey..example:6379",
        f"rediss://{'a.' * 50_000}example",
    ],
)
def test_where_no_server_can_be(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A port or a host that can't exist is refused, as it would be of Sentinels and a cluster."""
    config = write_config(tmp_path)
    edit(config, LAB.with_(("store",), {"url": url}))
    assert run("check", str(config)) == 1
    assert "store.url: must " in capsys.readouterr().err


@pytest.mark.parametrize(
    "host", ["valkey", "valkey.corp.example.", "my_store-1.ns.svc", "127.0.0.1", "[::1]"]
)
def test_where_a_server_can_be(host: str) -> None:
    """Names with and without a dot at their end, and addresses, are accepted."""
    assert StoreSettings(url=f"rediss://{host}:6379/1").url


@pytest.mark.parametrize("password", [b"\n", b"hunter2\nhunter3\n", b"hunter2\xff"])
@pytest.mark.parametrize("section", ["store", "store.sentinel"])
def test_a_file_without_a_password(
    password: bytes, section: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is told, and its content is not."""
    config, path = write_config(tmp_path), tmp_path / "password"
    path.write_bytes(password)
    secret = {"password_file": str(path)}
    sentinel = {"addresses": ["sentinel.corp.example:26379"], "service": "store", **secret}
    there = (
        {"sentinel": sentinel} if "sentinel" in section else {"url": "rediss://valkey", **secret}
    )
    edit(config, LAB.with_(("store",), there))
    assert run("check", str(config)) == 1
    said = capsys.readouterr().err
    assert f"{section}.password_file: must hold a password" in said
    assert "hunter" not in said
