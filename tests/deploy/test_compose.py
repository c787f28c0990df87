"""The homelab's files: they fit the image and ``authz init``, and lead to an answer."""

import re
import sys
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any, Final

import pytest
import yaml

from authz.starter.template import replace_all
from lab.client import Client
from lab.envoy import Envoy
from lab.processes import Process
from support.compose_envoy import COMPOSE, FILE, compose_bootstrap
from support.dockerfile import steps
from support.verbs import run

TEXT: Final = (COMPOSE / "compose.yaml").read_text()
FILES: Final[dict[str, Any]] = yaml.safe_load(TEXT)
CONFIG: Final = COMPOSE / "config" / "config.yaml"
PATH: Final = "/finance/balance"
ADMIN: Final = "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}\n"


def service(name: str) -> dict[str, Any]:
    """A service of the file."""
    return dict(FILES["services"][name])


def mounts(name: str) -> set[str]:
    """Where a service's volumes are, in its container."""
    return {
        each["target"] if isinstance(each, dict) else each.split(":")[1]
        for each in service(name)["volumes"]
    }


def test_envoy_has_what_init_writes() -> None:
    """Its bootstrap is that of ``authz init``; ``python -m support.compose_envoy`` writes it."""
    assert FILE.read_text() == compose_bootstrap()


def test_the_config_is_good(capsys: pytest.CaptureFixture[str]) -> None:
    """``authz check`` says nothing but that the issuer is for trying."""
    assert run("check", "--elsewhere", str(CONFIG)) == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(warnings) == 1
    assert "authz init made its key" in warnings[0]


def test_every_container_is_confined() -> None:
    """None has rights or a file system to write to, and all are of one user, who has the keys."""
    for name in FILES["services"]:
        here = service(name)
        assert here["read_only"] is True
        assert here["cap_drop"] == ["ALL"]
        assert here["user"].startswith("${HOMELAB_UID")
    assert service("envoy")["ports"] == ["127.0.0.1:8443:8443"]
    assert all("ports" not in service(name) for name in ("authz", "upstream", "init"))


def test_the_store_is_on_the_sockets_volume() -> None:
    """It is confined as the rest, reached by a socket alone, and fits the how-to's config."""
    added = yaml.safe_load((COMPOSE / "store.yaml").read_text())["services"]
    store = added["store"]
    conf = (COMPOSE / "valkey" / "valkey.conf").read_text()
    settings = dict(line.split(" ", 1) for line in conf.splitlines() if not line.startswith("#"))

    assert added["authz"] == {"depends_on": ["store"]}
    for key in ("user", "read_only", "cap_drop", "security_opt"):
        assert store[key] == service("authz")[key]
    assert store["network_mode"] == "none"
    assert settings["port"] == "0"
    assert settings["maxmemory-policy"] == "noeviction"
    assert {"socket:/run/authz"} <= {each for each in store["volumes"] if isinstance(each, str)}
    assert settings["dir"] == next(each["target"] for each in store["volumes"] if "target" in each)
    page = (COMPOSE.parents[1] / "docs" / "howto" / "homelab.md").read_text()
    assert f'store: {{url: "unix://{settings["unixsocket"]}"}}' in page
    assert settings["unixsocket"].startswith("/run/authz/")


def test_the_upstream_gets_the_public_key_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The how-to's config names a file that authz alone has, and is good beside the rest."""
    added = yaml.safe_load((COMPOSE / "assertions.yaml").read_text())["services"]
    mounted = {name: added[name]["volumes"] for name in ("authz", "upstream")}
    page = (COMPOSE.parents[1] / "docs" / "howto" / "homelab.md").read_text()
    block = re.search(r"```yaml\n(assertions:\n.*?)```", page, re.DOTALL)
    assert block is not None
    (private,), (public,) = mounted["authz"], mounted["upstream"]
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG.read_text() + block[1])

    assert run("check", "--elsewhere", str(config)) == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert all("authz init made its key" in warning for warning in warnings)
    (key,) = yaml.safe_load(block[1])["assertions"]["keys"]
    assert Path(key["file"]).parent == Path(private["target"])
    assert f"/here/{Path(private['source'])}/signing.pem > {Path(public['source'])}/" in page
    assert private["source"] != public["source"]
    assert private["read_only"] is public["read_only"] is True
    assert "keys/" in (COMPOSE / ".gitignore").read_text().split()


def test_envoy_is_held_to_its_digest() -> None:
    """The image of others is the one that was meant; the rest is built from the Dockerfile."""
    images = {service(name)["image"].partition("@sha256:")[2] for name in FILES["services"]}
    assert {len(digest) for digest in images} == {0, 64}
    assert {service(name)["image"] for name in ("authz", "upstream", "init")} == {
        "envoy-agent-authz"
    }


def test_the_files_are_where_the_containers_look() -> None:
    """The config is in the folder of the image's command, and what it names is mounted."""
    command = next(step.rest for step in steps() if step.word == "CMD" and "serve" in step.rest)
    assert command == '["serve", "/etc/authz/config.yaml"]'
    assert {"/etc/authz", "/run/authz", "/try/jwks.json"} <= mounts("authz")
    config = yaml.safe_load(CONFIG.read_text())
    assert config["issuers"][0]["keys"]["file"] in mounts("authz")
    assert {"/try/envoy.pem", "/try/envoy.key", "/try/ca.pem", "/run/authz"} <= mounts("envoy")
    assert service("envoy")["command"][-1] == "/etc/envoy/envoy.yaml"


@pytest.fixture(scope="module")
def homelab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Client]]:
    """The three running from these files, with paths and ports of this machine.

    Yields the folder that ``authz init`` wrote, and the client of the agent travel.
    """
    folder = tmp_path_factory.mktemp("homelab")
    assert run("init", str(folder / "try")) == 0
    here = {"/try/": f"{folder}/try/", "/run/authz/": f"{folder}/"}
    config = folder / "config.yaml"
    text = replace_all(CONFIG.read_text(), here)
    config.write_text(text + "admin: {listen: '127.0.0.1:0'}\n")

    class Files(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(COMPOSE / "upstream"))

    with ThreadingHTTPServer(("127.0.0.1", 0), Files) as upstream:
        Thread(target=upstream.serve_forever, daemon=True).start()
        local = {
            "{address: 0.0.0.0, port_value: 8443}": "{address: 127.0.0.1, port_value: 0}",
            "{address: upstream, port_value: 8080}": (
                f"{{address: 127.0.0.1, port_value: {upstream.server_port}}}"
            ),
        }
        command = [sys.executable, "-m", "authz", "serve", str(config)]
        server = Process("authz", command, folder / "authz.log")
        envoy = Envoy(folder, replace_all(FILE.read_text(), here | local) + ADMIN)
        try:
            envoy.wait_ready()
            svid = SimpleNamespace(
                certificate_path=folder / "try" / "travel.pem",
                key_path=folder / "try" / "travel.key",
            )
            ca = folder / "try" / "ca.pem"
            yield folder / "try", Client(envoy.port, ca, svid)  # type: ignore[arg-type] # its files
        finally:
            envoy.stop()
            server.stop()
            upstream.shutdown()


@pytest.mark.e2e
def test_a_request_is_allowed_and_another_denied(
    homelab: tuple[Path, Client], capsys: pytest.CaptureFixture[str]
) -> None:
    """As the how-to shows: the upstream's file with a token, a challenge without one."""
    folder, travel = homelab
    made = ("token", "make", str(folder), "--agent", "travel", "--principal", "alice")
    assert run(*made, "--scope", "balance:read") == 0
    token = capsys.readouterr().out.strip()

    assert travel.get(PATH, token, host="localhost:8443").body == b'{"balance": 42}\n'
    assert travel.get(PATH, host="localhost:8443").status == 401
    assert travel.get("/finance/../payments", token, host="localhost:8443").status == 403
