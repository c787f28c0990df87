"""The software bill of materials (CycloneDX): the locked packages, with hashes and who needs them.

cyclonedx-py reads the lock. It leaves out which package needs which; uv writes that into the lock's
comments, and it is added from there.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from release.build import digest_of
from release.tree import ReleaseError

LOCK: Final = "requirements/runtime-extras.txt"
LOCK_WITHOUT_EXTRAS: Final = "requirements/runtime.txt"
_SCHEMA: Final = SchemaVersion.V1_6
# Text that begins a package, or a comment that names a package by which it is needed.
_PACKAGE: Final = re.compile(r"(?m)^([a-z0-9][a-z0-9.-]*)==")
_NEEDED_BY: Final = re.compile(r"(?m)^    #(?: via|  ) +([a-z0-9][a-z0-9.-]*)")


def packages_of(lock: str) -> dict[str, set[str]]:
    """Return a lock's packages, each with the names of those that need it."""
    _, *parts = _PACKAGE.split(lock)
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return {name: set(_NEEDED_BY.findall(rest)) for name, rest in pairs}


def make_sbom(tree: Path, wheel: Path, seconds: int) -> str:
    """Return the bill of a tree's wheel, equal for equal input. Raises ReleaseError.

    ``seconds`` is its timestamp, in Unix seconds.
    """
    bill = json.loads(_list_packages(tree, seconds))
    needed_by = packages_of((tree / LOCK).read_text())
    always = packages_of((tree / LOCK_WITHOUT_EXTRAS).read_text())
    root = bill["metadata"]["component"]
    root["hashes"] = [{"alg": "SHA-256", "content": digest_of(wheel)}]
    for component in bill["components"]:
        del component["description"]  # the line of the lock, hashes and all
        component["bom-ref"] = component["purl"]
        component["scope"] = "required" if component["name"] in always else "optional"
    bill["dependencies"] = _dependencies(root, bill["components"], needed_by)
    text = json.dumps(bill, indent=2) + "\n"
    if fault := JsonStrictValidator(_SCHEMA).validate_str(text):
        raise ReleaseError(f"the SBOM breaks CycloneDX's schema: {fault}")
    return text


def _list_packages(tree: Path, seconds: int) -> str:
    command = ["cyclonedx_py", "requirements", "--pyproject", str(tree / "pyproject.toml")]
    # Validated when it is whole: that takes seconds.
    options = ["--output-reproducible", "--no-validate", "--sv", _SCHEMA.to_version()]
    done = subprocess.run(
        # It warns that the root needs nothing, which is added afterwards.
        [sys.executable, "-W", "ignore", "-m", *command, *options, str(tree / LOCK)],
        env=os.environ | {"SOURCE_DATE_EPOCH": str(seconds)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ReleaseError(f"cyclonedx-py: {done.stderr}")
    return done.stdout


def _dependencies(
    root: dict[str, Any], components: list[dict[str, Any]], needed_by: dict[str, set[str]]
) -> list[dict[str, Any]]:
    refs = {part["name"]: part["bom-ref"] for part in (root, *components)}
    if missing := {*needed_by} ^ ({*refs} - {root["name"]}):
        raise ReleaseError(f"the SBOM and the lock differ in {', '.join(sorted(missing))}")
    return [
        {
            "ref": ref,
            "dependsOn": [refs[name] for name in sorted(needed_by) if who in needed_by[name]],
        }
        for who, ref in refs.items()
    ]
