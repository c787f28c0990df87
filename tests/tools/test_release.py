"""What `make release` makes of a commit, and what stops it."""

import json
import os
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest

from release.__main__ import release
from release.build import build, digest_of, require_equal
from release.sbom import LOCK, LOCK_WITHOUT_EXTRAS, make_sbom, packages_of
from release.tree import ReleaseError, version_of
from support.clean_venv import ROOT, run

pytestmark = pytest.mark.timeout(600)  # five builds, beside other tests
_DATE = "2026-01-02T03:04:05Z"
_SECONDS = 1767323045
# Also what the next commit may bring: the sdist is of the tree as it stands.
_LISTED = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
_NOBODY = {
    **{
        f"GIT_{who}_{what}": "nobody"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    },
    **{f"GIT_{who}_DATE": _DATE for who in ("AUTHOR", "COMMITTER")},
    "GIT_CONFIG_GLOBAL": os.devnull,
}


class Released(NamedTuple):
    """A repository of one commit, and what was made of it."""

    repository: Path
    dist: Path

    @property
    def wheel(self) -> Path:
        """The wheel."""
        [wheel] = self.dist.glob("*.whl")
        return wheel

    @property
    def sdist(self) -> Path:
        """The sdist."""
        [sdist] = self.dist.glob("*.tar.gz")
        return sdist

    @property
    def sbom(self) -> dict[str, Any]:
        """The bill of materials."""
        bill: dict[str, Any] = json.loads((self.dist / "sbom.cdx.json").read_text())
        return bill


@pytest.fixture(scope="module")
def released() -> Iterator[Released]:
    """Give this tree as a commit of a new repository, released; the files hold no output."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        repository = _unpack(_make_sdist(folder), folder / "repository")
        for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "-m", "All"]):
            _git(repository, *command)
        # The repository's own program, not this tree's.
        own = os.environ | {"PYTHONPATH": str(repository)}
        run([sys.executable, "-m", "release"], repository, own)
        yield Released(repository, repository / "dist")


def _make_sdist(folder: Path) -> Path:
    command = [sys.executable, "-m", "build", "--no-isolation", "--sdist", "--outdir", str(folder)]
    run([*command, str(ROOT)], folder, os.environ)
    [sdist] = folder.glob("*.tar.gz")
    return sdist


def _unpack(sdist: Path, target: Path) -> Path:
    with tarfile.open(sdist) as archive, TemporaryDirectory(dir=target.parent) as folder:
        archive.extractall(folder, filter="data")
        [tree] = Path(folder).iterdir()
        tree.rename(target)
    (target / "PKG-INFO").unlink()
    return target


def _git(repository: Path, *arguments: str) -> str:
    return run(["git", *arguments], repository, os.environ | _NOBODY)


def test_what_is_published(released: Released) -> None:
    """A release has wheel, sdist, SBOM, and a list of digests that they have."""
    names = sorted(path.name for path in released.dist.iterdir())

    assert names == ["SHA256SUMS", released.wheel.name, released.sdist.name, "sbom.cdx.json"]
    said = run(["sha256sum", "--check", "SHA256SUMS"], released.dist, os.environ)
    assert said.count(": OK\n") == 3


def test_the_wheel_has_the_package_alone(released: Released) -> None:
    """The wheel has each file of the package, the man page, the licence, and nothing else."""
    with zipfile.ZipFile(released.wheel) as archive:
        names = {*archive.namelist()}
    package = released.repository / "authz"
    files = {str(path.relative_to(package.parent)) for path in package.rglob("*") if path.is_file()}
    made = {name for name in names if ".dist-info/" in name}
    others = {name.partition(".dist-info/")[2] for name in made}

    assert files <= names
    assert [name.partition(".data/")[2] for name in names - files - made] == [
        "data/share/man/man1/authz.1"
    ]
    assert "authz/py.typed" in files
    assert others == {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="without git nothing lists its files")
def test_the_sdist_has_what_git_has(released: Released) -> None:
    """The sdist has every file that git holds, so that the tests run from it, and no other."""
    listed = run([*_LISTED], ROOT, os.environ).split("\0")
    kept = {name for name in listed if (ROOT / name).is_file()}
    with tarfile.open(released.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    assert names == kept | {"PKG-INFO"}


def test_other_circumstances_build_the_same_bytes(released: Released, tmp_path: Path) -> None:
    """Another folder, umask, time zone and other times of files build the same wheel and sdist."""
    tree = _unpack(released.sdist, tmp_path / "elsewhere")
    for path in tree.rglob("*"):
        os.utime(path, (1, 1))

    build(tree, tmp_path / "dist", _SECONDS, umask=0o007, zone="Pacific/Chatham")
    for name in (released.wheel.name, released.sdist.name):
        assert digest_of(tmp_path / "dist" / name) == digest_of(released.dist / name)


def test_the_sbom_lists_the_lock(released: Released) -> None:
    """The SBOM has each locked package: version, hashes, purl, and whether an extra brings it."""
    lock = (ROOT / LOCK).read_text()
    always = packages_of((ROOT / LOCK_WITHOUT_EXTRAS).read_text())
    components = {part["name"]: part for part in released.sbom["components"]}

    assert components.keys() == packages_of(lock).keys()
    assert {"cel-expr-python", "spiffe"} <= components.keys() - always.keys()
    for name, part in components.items():
        version, *hashes = _pinned(lock, name)
        [source] = part["externalReferences"]
        assert part["version"] == version
        assert part["purl"] == part["bom-ref"] == f"pkg:pypi/{name}@{version}"
        assert [digest["content"] for digest in source["hashes"]] == hashes
        assert part["scope"] == ("required" if name in always else "optional")


def _pinned(lock: str, name: str) -> list[str]:
    """Return the version and the hashes of a package, read in another way than the product's."""
    [block] = [block for block in f"\n{lock}".split("\n") if block.startswith(f"{name}==")]
    lines = lock[lock.index(block) :].splitlines()
    hashes = []
    for line in lines[1:]:
        if "--hash=sha256:" not in line:
            break
        hashes.append(line.strip(" \\").removeprefix("--hash=sha256:"))
    return [block.partition("==")[2].strip(" \\"), *hashes]


def test_the_sbom_is_of_the_wheel(released: Released) -> None:
    """The SBOM names the product, its wheel's digest, the commit's time, and who needs what."""
    bill = released.sbom
    root = bill["metadata"]["component"]
    needs = {row["ref"]: row["dependsOn"] for row in bill["dependencies"]}
    direct = {ref.removeprefix("pkg:pypi/").partition("@")[0] for ref in needs[root["bom-ref"]]}

    assert root["name"] == "envoy-agent-authz"
    assert root["hashes"] == [{"alg": "SHA-256", "content": digest_of(released.wheel)}]
    assert bill["metadata"]["timestamp"].startswith(_DATE[:-1])
    assert {"cryptography", "spiffe", "cel-expr-python"} <= direct
    assert "pycparser" not in direct
    assert needs.keys() == {root["bom-ref"], *(part["bom-ref"] for part in bill["components"])}


def test_the_sbom_is_reproducible(released: Released) -> None:
    """The same lock and wheel give the same SBOM."""
    text = (released.dist / "sbom.cdx.json").read_text()

    assert make_sbom(released.repository, released.wheel, _SECONDS) == text


def test_a_changed_tree_is_not_released(
    released: Released, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that the commit lacks, or has otherwise, stops the release, and is named."""
    monkeypatch.chdir(released.repository)
    stray = Path("authz", "stray.py")
    stray.touch()

    with pytest.raises(ReleaseError, match=r"commit or remove these first:\n\?\? authz/stray.py$"):
        release(tmp_path / "dist")
    stray.unlink()
    assert not (tmp_path / "dist").exists()


def test_files_of_before_are_kept(released: Released, monkeypatch: pytest.MonkeyPatch) -> None:
    """A release goes into an empty folder: it mixes with nothing, and overwrites nothing."""
    monkeypatch.chdir(released.repository)

    with pytest.raises(ReleaseError, match=r"^dist has files of before: move or remove them$"):
        release(Path("dist"))


def test_a_version_is_released_once(
    released: Released, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version whose tag is another commit is not built again."""
    monkeypatch.chdir(released.repository)
    _git(released.repository, "tag", f"v{version_of(ROOT)}")
    _git(released.repository, "commit", "--quiet", "--allow-empty", "-m", "Later")

    with pytest.raises(
        ReleaseError, match=r"^v[0-9.]+ is another commit: raise project.version in"
    ):
        release(tmp_path / "dist")


def test_outside_a_repository_nothing_is_released(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unpacked sdist is not released: what it was made of is not known."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))

    with pytest.raises(ReleaseError, match=r"^git status: fatal: not a git repository"):
        release(tmp_path / "dist")


@pytest.mark.parametrize(("names", "said"), [("ab", "a"), ("a", "a, b")])
def test_builds_that_differ(tmp_path: Path, names: str, said: str) -> None:
    """Two builds with other bytes, or other files, are no release."""
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, files in ((first, "ab"), (second, names)):
        folder.mkdir()
        for name in files:
            (folder / name).write_text("same")
    (second / "a").write_text("else")

    with pytest.raises(ReleaseError, match=f"^not reproducible: {said}$"):
        require_equal(first, second)


@pytest.mark.parametrize("target", ["release", "docs", "check", "generate"])
def test_what_needs_no_envoy(target: str) -> None:
    """A release, the docs and the checks install neither Envoy nor an authorization server."""
    printed = run(["make", "--dry-run", "--always-make", target], ROOT, os.environ)

    assert "-m venv .venv" in printed
    assert ".venv-envoy" not in printed
    assert "npm" not in printed
