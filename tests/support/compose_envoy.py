"""The bootstrap of ``deploy/compose``: the one that ``authz init`` writes, for containers."""

import sys
from pathlib import Path
from typing import Final

from authz.starter.bootstrap import bootstrap_text
from authz.starter.settings import StarterSettings
from authz.starter.template import replace_all

COMPOSE: Final = Path(__file__).parents[2] / "deploy" / "compose"
FILE: Final = COMPOSE / "envoy" / "envoy.yaml"
_HEAD: Final = """\
# A hardened Envoy, with mutual TLS in and ext_authz on every request: envoy/envoy.yaml of the
# project, with a single route, for the containers of compose.yaml.
"""


def compose_bootstrap() -> str:
    """Return the text that the file has to have."""
    made = bootstrap_text(StarterSettings(Path("/try"), upstream=("upstream", 8080)))
    rest = made[made.index("static_resources:") :]
    here = {
        "{address: 127.0.0.1, port_value: 8443}": "{address: 0.0.0.0, port_value: 8443}",
        "{socket_address: {address: 127.0.0.1, port_value: 9191}}": (
            "{pipe: {path: /run/authz/authz.sock}}"
        ),
    }
    return _HEAD + replace_all(rest, here)


if __name__ == "__main__":
    sys.exit(FILE.write_text(compose_bootstrap()) and None)
