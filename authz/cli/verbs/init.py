"""``authz init``: writes a folder to try it with, and prints the commands to run next."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from authz.cli.common import FAILED, FINE, complain
from authz.starter.errors import StarterError
from authz.starter.folder import StarterFolder
from authz.starter.next_steps import Programs, Step, next_steps
from authz.starter.settings import AGENTS, StarterSettings

_FROM: Final = {
    "curl": "https://curl.se/download.html",
    "envoy": "https://www.envoyproxy.io/docs/envoy/latest/start/install",
}


def run(options: argparse.Namespace) -> int:
    """Write the folder, and return the exit status."""
    try:
        settings = StarterSettings(
            options.folder,
            options.trust_domain,
            options.port,
            options.upstream,
            options.agent or AGENTS,
        )
        written = StarterFolder(settings, datetime.now(UTC)).write()
    except StarterError as error:
        complain(f"authz: {error}")
        return FAILED
    programs = Programs.found(sys.argv[0])
    print("\n".join(_told(written, programs)))
    for name in programs.missing:
        origin = _FROM[Path(name).name]
        complain(f"authz: {name} was not found, and the commands above need it: {origin}")
    return FINE


def _told(written: StarterFolder, programs: Programs) -> Iterator[str]:
    folder = written.settings.folder
    agents = ", ".join(written.settings.agent_names)
    yield f"Wrote {folder}: a config, an issuer, an Envoy bootstrap, certificates of {agents}."
    yield f"They are for trying only: anybody who can read {folder}/issuer.jwk can make tokens."
    yield f"The certificates end on {written.ends_at:%Y-%m-%d}; then make another folder."
    first, further = next_steps(written.settings, programs)
    yield "\nRun next, in this directory, to the first allowed request:"
    yield from _shown(first)
    yield "\nThen see a request refused, and why:"
    yield from _shown(further)


def _shown(steps: Sequence[Step]) -> Iterator[str]:
    for step in steps:
        yield f"\n# {step.title}\n{step.command}"
