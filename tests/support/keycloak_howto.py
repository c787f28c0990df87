"""The how-to for Keycloak, run: its commands against a real one, its configs behind an Envoy."""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from lab.client import Client, Reply
from lab.config_builder import LAB, ConfigBuilder
from lab.envoy import Envoy, bootstrap
from lab.keycloak import HOME, Realm
from lab.live_files import whole_records
from lab.mesh import CHECK_TIMEOUT, Mesh, Server
from support.world import wait_until

# As the page has them.
USER: Final = "alice"
FRONT_END: Final = "front-end"
AGENT: Final = "travel-agent"
READ: Final = "balance:read"
_PAGE: Final = Path(__file__).parents[2] / "docs" / "howto" / "tokens-from-keycloak.md"
_BLOCK: Final = re.compile(r"(<!-- test -->\n)?```(\w+)\n(.*?)```", re.DOTALL)
_URL: Final = "https://keycloak.corp.example"
_SERVICE_ACCOUNT: Final = "5b7c1f5e-0f64-4c8e-9b0d-6d5f0a3e1c77"
_AS_IN_THE_LAB: Final = {"server", "trust_domains", "profiles"}


def commands() -> list[str]:
    """Return the how-to's marked commands, block by block."""
    return [text for mark, _, text in _BLOCK.findall(_PAGE.read_text()) if mark]


def configs() -> list[str]:
    """Return the how-to's configs: the whole one, and parts to put into it."""
    return [text for _, language, text in _BLOCK.findall(_PAGE.read_text()) if language == "yaml"]


class Howto:
    """What the how-to says, with the address and the ids of the Keycloak that runs here."""

    def __init__(self, realm: Realm, folder: Path) -> None:
        """Take the realm, and a folder for what kcadm.sh remembers."""
        self._realm = realm
        self._folder = folder

    def run(self, block: str) -> str:
        """Run a block of commands, of which none may fail, and return what it prints."""
        keycloak = self._realm.keycloak
        environment = {
            **os.environ,
            "PATH": f"{HOME / 'bin'}:{os.environ['PATH']}",
            # Each command is a Java of its own, that lives for a second.
            "KC_OPTS": f"-Duser.home={self._folder} -XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
            "KC_CLI_PASSWORD": keycloak.admin_password,
        }
        done = subprocess.run(
            ["sh", "-e", "-c", block.replace(_URL, keycloak.url)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def config(self, part: str = "{}") -> dict[str, Any]:
        """Return the whole config, with a part of the page in its issuer."""
        config, lines = (self._parsed(text) for text in (configs()[0], part))
        issuer = config["issuers"][0]
        issuer.update(lines)
        issuer["keys"].update(insecure=True, cooldown="1s")
        return config

    def _parsed(self, text: str) -> dict[str, Any]:
        text = text.replace(_URL, self._realm.keycloak.url)
        parsed: dict[str, Any] = yaml.safe_load(
            text.replace(_SERVICE_ACCOUNT, self._realm.service_account_id(AGENT))
        )
        return parsed


@dataclass(frozen=True)
class Proxy:
    """An Envoy with an agent-authz server of its own."""

    mesh: Mesh
    server: Server
    envoy: Envoy

    def agent(self, spiffe_id: str) -> Client:
        """Make a client of an agent."""
        return self.mesh.agent(spiffe_id, self.envoy.port)

    def record(self, reply: Reply) -> dict[str, Any]:
        """Return the audit record of an allowed request, once it is written."""
        decision_id = dict(reply.seen_headers())["x-agent-decision-id"]

        def found() -> list[dict[str, Any]]:
            records = whole_records(self.server.audit)
            return [record for record in records if record["decision_id"] == decision_id]

        wait_until(found)
        return found()[0]


def changes_of(config: dict[str, Any]) -> ConfigBuilder:
    """Return what makes the lab's config this one; server and trust are as in the lab."""
    changes = LAB
    for section in sorted(config.keys() - _AS_IN_THE_LAB):
        changes = changes.with_((section,), config[section])
    return changes


def serve(
    mesh: Mesh, name: str, config: dict[str, Any], check_timeout: str = CHECK_TIMEOUT
) -> Proxy:
    """Start a server with a config, and an Envoy in front of it that waits so long for a check."""
    server = mesh.server(name, changes_of(config)).wait_ready()
    text = bootstrap(
        server=mesh.gateway,
        bundle=mesh.authority.path,
        upstream_port=mesh.upstream.port,
        sockets=[server.socket],
    )
    text = text.replace(f"timeout: {CHECK_TIMEOUT}\n", f"timeout: {check_timeout}\n")
    return Proxy(mesh, server, Envoy(mesh.folder, text, f"envoy-{name}").wait_ready())


def users_token(realm: Realm, scope: str = READ) -> str:
    """Return what the agent gets for the token of a user who logged in at the front end."""
    token = realm.by_login(FRONT_END, USER)["access_token"]
    return str(realm.exchange(AGENT, token, scope)["access_token"])
