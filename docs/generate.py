"""Write the reference pages from the code, or compare them with it (``--check``)."""

import argparse
import json
import sys
from pathlib import Path
from typing import Final

from authz.adapters.audit.records.schema import line_schema
from authz.config import ConfigFiles, load, schema
from authz.review.gateways.agentgateway import agentgateway_text
from authz.starter.envoy_tls import shipped_bootstraps
from generating.audit_mapping_page import audit_mapping_page
from generating.audit_page import audit_page
from generating.cli_page import cli_page
from generating.conditions_page import conditions_page
from generating.config_pages import FOLDER, config_pages
from generating.dashboard import DASHBOARD, dashboard
from generating.man_page import man_page
from generating.metrics_page import metrics_page
from generating.reasons_page import reasons_page
from generating.rule_manifest import MANIFEST, rule_manifest
from generating.shown_files import with_files

HERE: Final = Path(__file__).parent
# agentgateway's configs: the config of ours that each is made from, and where that server is.
GATEWAYS: Final = {
    "deploy/agentgateway/agentgateway.yaml": ("config.yaml", None),
    "deploy/kustomize/overlays/agentgateway/agentgateway.yaml": (
        "config/config.yaml",
        ("agent-authz.agent-authz.svc", 9191),
    ),
}
SHOWING: Final = ("howto/run-behind-agentgateway.md",)  # the pages that show files


def pages() -> dict[str, str]:
    """Return the text of each generated file, by its path in this folder."""
    shipped = gateways()
    return {
        **config_pages(),
        "reference/reasons.md": reasons_page(),
        "reference/metrics.md": metrics_page(),
        "reference/audit.md": audit_page(),
        "reference/audit-mapping.md": audit_mapping_page(),
        "reference/cli.md": cli_page(),
        "reference/conditions.md": conditions_page(),
        "man/authz.1": man_page(),
        **{f"../envoy/{name}": text for name, text in shipped_bootstraps().items()},
        **{f"../{name}": text for name, text in shipped.items()},
        f"../{MANIFEST}": rule_manifest(HERE.parent),
        f"../{DASHBOARD}": dashboard(),
        **{name: with_files(HERE / name, HERE.parent, shipped) for name in SHOWING},
        "schema.json": json.dumps(schema(), indent=2) + "\n",
        "audit-record.schema.json": json.dumps(line_schema(), indent=2) + "\n",
    }


def gateways() -> dict[str, str]:
    """Return the text of agentgateway's configs, by their path in the project."""
    return {
        name: agentgateway_text(load(ConfigFiles((HERE.parent / name).parent / config)), server)
        for name, (config, server) in GATEWAYS.items()
    }


def differing(made: dict[str, str]) -> list[str]:
    """Return the paths of files that are not what the code makes."""
    return [
        name
        for name, text in made.items()
        if not (HERE / name).exists() or (HERE / name).read_text() != text
    ]


def left_over(made: dict[str, str]) -> list[str]:
    """Return the paths of pages whose section the config has no more."""
    found = (str(path.relative_to(HERE)) for path in (HERE / FOLDER).glob("*.md"))
    return [name for name in found if name not in made]


def check(made: dict[str, str]) -> int:
    """Print each file that is not what the code makes, and return the exit status."""
    wrong = [*differing(made), *left_over(made)]
    for name in wrong:
        print(f"docs/{name} is not what the code makes: run 'make generate'")
    return 1 if wrong else 0


def main() -> int:
    """Write, or check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit 1 when they differ")
    made = pages()
    if parser.parse_args().check:
        return check(made)
    for name in left_over(made):
        (HERE / name).unlink()
    for name, text in made.items():
        (HERE / name).parent.mkdir(exist_ok=True)
        (HERE / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
