"""The how-to on one machine: its SPIRE, its entries, its config, its requests."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab.envoy import Envoy, spire_bootstrap
from lab.processes import Process
from lab.upstream import Upstream
from mesh.support.free_ports import free_ports
from mesh.support.groups import in_group, output_of, wait_for
from mesh.support.spire_mesh import AUTHZ_GROUP, ENVOY_GROUP, PAYMENTS_GROUP, TRAVEL_GROUP
from mesh.support.tools import tool

pytestmark = pytest.mark.needs("root", "spire-server", "spire-agent", "curl")
PAGE = Path(__file__).parents[3] / "docs" / "howto" / "run-with-spire.md"
GROUPS = {
    "authz": AUTHZ_GROUP,
    "envoy": ENVOY_GROUP,
    "travel": TRAVEL_GROUP,
    "payments": PAYMENTS_GROUP,
}


def block(name: str) -> str:
    """Return the page's block of this name."""
    mark = rf"<!-- spire: {re.escape(name)} -->\n```\w+\n(.*?)```"
    found = re.search(mark, PAGE.read_text(), re.DOTALL)
    assert found, name
    return found[1]


class Page:
    """The page, in a folder in place of the machine's: groups stand for its users."""

    def __init__(self, folder: Path) -> None:
        """Take the folder."""
        self.folder = folder
        self.spire_port, self.authz_port = free_ports(2)
        self.envoy_port = 0

    def here(self, text: str) -> str:
        """Return a block of the page with the paths, ports and users of here."""
        changes = {
            "/run/spire": str(self.folder),
            "/var/lib/spire": str(self.folder),
            '"8081"': f'"{self.spire_port}"',
            "127.0.0.1:9191": f"127.0.0.1:{self.authz_port}",
            "localhost:8443": f"localhost:{self.envoy_port}",
            "spire-server ": f"{tool('spire-server')} ",
            "spire-agent ": f"{tool('spire-agent')} ",
            "chown $1": "true",
            "runuser -u $1 --": 'setpriv --regid="$(group $1)" --clear-groups',
        }
        for old, new in changes.items():
            text = text.replace(old, new)
        return re.sub(r"unix:user:(\w+)", lambda found: f"unix:gid:{GROUPS[found[1]]}", text)

    def write(self, name: str) -> Path:
        """Write a block to a file of its name."""
        path = self.folder / name
        path.write_text(self.here(block(name)))
        return path

    def run(self, name: str) -> str:
        """Run a block in the shell, and return what it printed."""
        cases = "".join(f"{user}) echo {group};; " for user, group in GROUPS.items())
        head = f"group() {{ case $1 in {cases} esac; }}\n"
        done = subprocess.run(
            ["sh", "-e", "-c", head + self.here(block(name))],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def control(self, *words: str) -> str:
        """Run a command of the SPIRE server."""
        socket = str(self.folder / "server.sock")
        return output_of([str(tool("spire-server")), *words, "-socketPath", socket])


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The page, until its last command: everything runs."""
    running = Page(tmp_path_factory.mktemp("howto"))
    with ExitStack() as stack:
        start_spire(running, stack)
        running.run("entries")
        start_proxy(running, stack)
        yield running


def start_spire(page: Page, stack: ExitStack) -> None:
    """Start the server and the agent with the page's files."""
    for part in ("server", "agent"):
        (page.folder / part).mkdir()
        options: list[str] = []
        if part == "agent":
            (page.folder / "bootstrap.pem").write_text(page.control("bundle", "show"))
            node = ("-spiffeID", "spiffe://corp.example/node")
            token = page.control("token", "generate", *node).split()[1]
            options = ["-joinToken", token]
        program = str(tool(f"spire-{part}"))
        command = [program, "run", "-config", str(page.write(f"{part}.conf")), *options]
        process = Process(f"spire-{part}", command, page.folder / f"{part}.log")
        stack.callback(process.stop)
        wait_for([program, "healthcheck", "-socketPath", str(page.folder / f"{part}.sock")])


def start_proxy(page: Page, stack: ExitStack) -> None:
    """Start agent-authz with the page's config, the shipped Envoy, and an upstream."""
    fetch = ["api", "fetch", "x509", "-socketPath", str(page.folder / "agent.sock")]
    for group in GROUPS.values():
        wait_for(in_group(group, [str(tool("spire-agent")), *fetch]))
    config = page.write("config")
    config.write_text(config.read_text() + 'admin: {listen: "127.0.0.1:0"}\n')
    log = page.folder / "authz.log"
    command = in_group(AUTHZ_GROUP, [sys.executable, "-m", "authz", "serve", str(config)])
    server = Process("authz", command, log)
    stack.callback(server.stop)
    server.wait_until(lambda: '"message":"serving"' in log.read_text())
    upstream = Upstream()
    stack.callback(upstream.close)
    text = spire_bootstrap(
        agent_socket=page.folder / "agent.sock",
        upstream_port=upstream.port,
        ports=[page.authz_port],
    )
    envoy = Envoy(page.folder, text, prefix=in_group(ENVOY_GROUP, []))
    stack.callback(envoy.stop)
    page.envoy_port = envoy.wait_ready().port


def test_one_agent_is_allowed_and_the_other_refused(page: Page) -> None:
    """The page's last commands print the upstream's answer, and the reason of the refusal."""
    printed = page.run("requests")

    assert printed.index('"path": "/jobs/7"') < printed.index("policy_denied")
