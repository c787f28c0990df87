"""The command's start: what each verb loads, and a signal that comes before a verb runs."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

import authz
from authz.cli import main
from authz.cli.asking import MAX_ANSWER_BYTES
from authz.cli.parser import help_texts

ROOT: Final = Path(authz.__file__).parents[1]
SECONDS: Final = 60.0
# No part of the standard library that asks or logs, either: they take as long to load as a verb.
LIBRARIES: Final = frozenset(
    {
        *("pydantic", "pydantic_core", "cryptography", "grpc", "urllib3", "msgspec", "jwt", "yaml"),
        *("prometheus_client", "google.protobuf", "importlib.metadata", "http.client", "logging"),
    }
)
MACHINERY: Final = frozenset(
    {
        *("grpc", "prometheus_client", "urllib3", "starlette", "spiffe", "cel_expr_python"),
        *("cryptography", "jwt", "google.protobuf", "http.server", "authz.server"),
    }
)
HELP: Final = [name.split()[1:] for name, _ in help_texts()]


def loaded(*arguments: str) -> set[str]:
    """Run the command in a process of its own; return the modules that it loaded."""
    command = [sys.executable, "-X", "importtime", "-m", "authz", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = set(re.findall(r"^import time:.*\| *([\w.]+)$", done.stderr, re.MULTILINE))
    assert "authz.cli" in found, done.stderr
    return found


def test_the_version_is_that_of_the_distribution() -> None:
    """The package's version is that of pyproject.toml, without asking for what is installed."""
    assert f'\nversion = "{authz.__version__}"\n' in (ROOT / "pyproject.toml").read_text()


def test_the_version_loads_no_library() -> None:
    """``authz --version`` loads no library."""
    assert not loaded("--version") & LIBRARIES


@pytest.mark.parametrize("verb", HELP, ids=" ".join)
def test_help_loads_no_library(verb: list[str]) -> None:
    """The help of the command and of each verb loads no library."""
    assert not loaded(*verb, "--help") & LIBRARIES


def test_health_loads_no_library() -> None:
    """``authz health``, which containers run every few seconds, loads no library."""
    assert not loaded("health", "127.0.0.1:1") & LIBRARIES


def test_check_loads_no_machinery(tmp_path: Path, mesh_config: str) -> None:
    """``authz check`` loads nothing that serves, asks or reads keys for a config without them."""
    config = tmp_path / "authz.yaml"
    config.write_text(mesh_config)
    assert not loaded("check", str(config)) & MACHINERY
    config.write_text(mesh_config.replace("trust_domains", "trust_domians"))
    assert not loaded("check", str(config)) & MACHINERY


@pytest.fixture
def mesh_config() -> str:
    """The README's config, with the keys that it names for a mesh: they are not in a file."""
    text = (ROOT / "README.md").read_text()
    found = re.search(r"^## A config to copy.*?^```yaml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert found is not None
    config = re.sub(r"keys: .*", "keys: {jwks_uri: https://as.corp.example/jwks}", found[1])
    return config.replace("https://issuer.invalid", "https://as.corp.example")


# Sends a signal to its own process at the moment when a module is about to be loaded.
AT: Final = """
import os, sys
class At:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), {number})
sys.meta_path.insert(0, At())
sys.argv = ["authz", *{arguments!r}]
from authz.__main__ import main
raise SystemExit(main())
"""


def signalled(number: int, module: str, *arguments: str, head: str = "") -> tuple[int, str]:
    """Run the command with a signal as it loads a module; return its status, and all it printed."""
    code = head + AT.format(module=module, number=int(number), arguments=arguments)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=SECONDS
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("module", ["authz.cli", "argparse", "authz.cli.parser.token"])
@pytest.mark.parametrize("arguments", [["--version"], ["health"], ["no-such-verb"]], ids=" ".join)
def test_ctrl_c_while_the_command_loads(arguments: list[str], module: str) -> None:
    """Ctrl-C before the arguments are read ends every command silently, with status 130."""
    assert signalled(signal.SIGINT, module, *arguments) == (130, "")


VERBS: Final = {
    "authz.cli.verbs.health": ["health"],
    "authz.cli.verbs.schema": ["schema"],
    "authz.cli.verbs.check": ["check", "authz.yaml"],
    "authz.config": ["check", "authz.yaml"],
    "pydantic": ["keys", "authz.yaml"],
    "authz.review.explain": ["what-can", "authz.yaml", "spiffe://corp.example/a"],
    "authz.review.replay": ["replay", "authz.yaml", "--audit", "-"],
    "authz.review.audit_reading.following": ["audit", "tail", "-"],
    "authz.review.audit_report.page": ["audit", "report", "authz.yaml", "-", "--out", "a.html"],
    "authz.review.suggestion.suggest": ["suggest", "authz.yaml", "--audit", "-"],
    "authz.review.policy_tests": ["test", "authz.yaml", "cases.yaml"],
    "authz.review.token_check": ["token", "check", "authz.yaml"],
    "authz.server": ["serve", "authz.yaml"],
    "authz.server.process": ["serve", "authz.yaml"],
}


@pytest.mark.parametrize("module", VERBS)
def test_ctrl_c_while_a_verb_loads(module: str) -> None:
    """Ctrl-C while a verb's modules are loaded ends it silently, with status 130."""
    assert signalled(signal.SIGINT, module, *VERBS[module]) == (130, "")


@pytest.mark.parametrize("module", ["authz.cli", "authz.cli.parser", "authz.server", "pydantic"])
def test_sigterm_while_serve_loads(module: str) -> None:
    """A server that is told to stop before it has started ends silently, with status 0."""
    assert signalled(signal.SIGTERM, module, "serve", "authz.yaml") == (0, "")


def test_sigterm_while_another_verb_loads() -> None:
    """A command that SIGTERM ended did not succeed."""
    assert signalled(signal.SIGTERM, "authz.cli.parser", "health") == (-signal.SIGTERM, "")


def test_an_ignored_ctrl_c_stays_ignored() -> None:
    """Where Ctrl-C is ignored, as below nohup, the command goes on."""
    head = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    status, said = signalled(signal.SIGINT, "argparse", "--version", head=head)

    assert (status, said) == (0, f"authz {authz.__version__}\n")


def test_ctrl_c_while_a_verb_runs() -> None:
    """Ctrl-C while a verb waits for somebody ends it silently, with status 130."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        process = subprocess.Popen(
            [sys.executable, "-m", "authz", "health", address],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        connection, _ = silent.accept()
        with connection:
            os.kill(process.pid, signal.SIGINT)
            said, _ = process.communicate(timeout=SECONDS)

    assert (process.returncode, said) == (130, b"")


def test_health_takes_a_bounded_answer(capsys: pytest.CaptureFixture[str]) -> None:
    """Health follows no redirection, and fails for an answer that is too long or not HTTP."""
    moved = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\nelsewhere"
    endless = b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (MAX_ANSWER_BYTES + 1)
    for answer, said in (
        (moved, "elsewhere"),
        (b"+PONG\r\n", "not HTTP"),
        (endless, "longer than"),
    ):
        with socket.create_server(("127.0.0.1", 0)) as server:
            thread = threading.Thread(target=answer_once, args=(server, answer))
            thread.start()
            status = main(["health", f"127.0.0.1:{server.getsockname()[1]}"])
            thread.join()
        told = capsys.readouterr()
        assert status == 1
        assert said in told.out + told.err
    assert main(["health", "nowhere"]) == 1
    assert "not host:port" in capsys.readouterr().err


def answer_once(server: socket.socket, answer: bytes) -> None:
    """Accept a connection, answer its request, and close it."""
    connection, _ = server.accept()
    with connection, suppress(OSError):  # the client may leave before it has read all
        connection.recv(4096)
        connection.sendall(answer)
