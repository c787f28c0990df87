"""Runs the command's verbs in this process on a config of the lab."""

from pathlib import Path

from authz import cli
from lab.config_builder import ConfigBuilder
from lab.mesh import CONFIG

URL = "https://mcp.corp.example/finance/balance"


def write_config(folder: Path) -> Path:
    """Write a valid config file."""
    path = folder / "authz.yaml"
    path.write_text(config_text(folder))
    return path


def config_text(folder: Path = Path("/run")) -> str:
    """Return the text of a valid config, with its files in a folder."""
    return CONFIG.format(
        socket=folder / "authz.sock",
        admin_port=0,
        drain="1s",
        jwks_uri="http://127.0.0.1:1/jwks",
        audit=folder / "audit.jsonl",
    )


def edit(path: Path, changes: ConfigBuilder) -> None:
    """Change a config file."""
    path.write_text(changes.edit(path.read_text()))


def run(*arguments: str) -> int:
    """Run a verb in this process, and return its exit status."""
    return cli.main(list(arguments))
