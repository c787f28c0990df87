"""Generate authz/_pb from protos/, or hold the two against each other (``--check``)."""

import argparse
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

HERE = Path(__file__).parent
TARGET = HERE.parent / "authz" / "_pb"
SOURCES = ("cel_ast", "ext_authz", "ext_mcp")
GENERATED = tuple(f"{source}_pb2.{kind}" for source in SOURCES for kind in ("py", "pyi"))


def generate(target: Path) -> None:
    """Write the generated modules into a folder. Raises SystemExit when protoc fails."""
    well_known = str(files("grpc_tools").joinpath("_proto"))
    status = protoc.main(
        [
            "protoc",
            f"-I{HERE}",
            f"-I{well_known}",
            f"--python_out={target}",
            f"--pyi_out={target}",
            *(str(HERE / f"{source}.proto") for source in SOURCES),
        ]
    )
    if status:
        raise SystemExit(status)


def differing() -> list[str]:
    """Names of the checked-in modules that are not what the source generates."""
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        return [
            name
            for name in GENERATED
            if not (TARGET / name).exists()
            or (TARGET / name).read_bytes() != (Path(folder) / name).read_bytes()
        ]


def main() -> int:
    """Generate, or check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit 1 when they differ")
    if not parser.parse_args().check:
        generate(TARGET)
        return 0
    stale = differing()
    for name in stale:
        print(f"authz/_pb/{name} differs from its source in protos/: run 'make generate'")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
