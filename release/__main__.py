"""Make the release of the commit that is checked out: ``make release`` runs it."""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from release.build import build, require_equal, write_digests
from release.sbom import make_sbom
from release.tree import (
    ReleaseError,
    commit_seconds,
    head,
    require_clean,
    require_new,
    version_of,
    write_tree,
)

_NEXT = """\
{target} has what is to be published of {commit}. Nothing was uploaded.
next, as docs/howto/release.md says:
  git tag --sign v{version} && git push origin v{version}
  docker build --build-arg VERSION={version} --build-arg REVISION={commit} \\
    --build-arg SOURCE_DATE_EPOCH={seconds} -t envoy-agent-authz:{version} ."""


def release(target: Path) -> None:
    """Write wheel, sdist, SBOM and digests of the commit into a new or empty folder.

    Raises ReleaseError when files differ from the commit, its version is released, the folder has
    files, a build fails, or two builds differ.
    """
    require_clean()
    if target.is_dir() and any(target.iterdir()):
        raise ReleaseError(f"{target} has files of before: move or remove them")
    seconds = commit_seconds()
    with tempfile.TemporaryDirectory() as work:
        tree, again, first, second = (
            Path(work) / name for name in ("tree", "again", "first", "second")
        )
        _say(f"1/4 the tree of {head()}")
        write_tree(tree)
        write_tree(again)
        require_new(version_of(tree))
        _say("2/4 wheel and sdist, built twice")
        build(tree, first, seconds, umask=0o022, zone="UTC")
        build(again, second, seconds, umask=0o077, zone="Asia/Kathmandu")
        require_equal(first, second)
        _say("3/4 SBOM")
        [wheel] = first.glob("*.whl")
        (first / "sbom.cdx.json").write_text(make_sbom(tree, wheel, seconds))
        _say("4/4 SHA256SUMS")
        write_digests(first)
        shutil.copytree(first, target, dirs_exist_ok=True)
        version = version_of(tree)
    _say(_NEXT.format(target=target, commit=head(), version=version, seconds=seconds))


def _say(text: str) -> None:
    print(text, flush=True)


def main() -> int:
    """Release into the folder that an argument names, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m release", description=__doc__)
    parser.add_argument("target", nargs="?", type=Path, default=Path("dist"))
    try:
        release(parser.parse_args().target)
    except ReleaseError as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
