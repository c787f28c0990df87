"""The docs as a site: no dead links, each page near, searchable, loaded from nowhere else."""

import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin

import pytest
import yaml

ROOT = Path(__file__).parents[2]
# What the site takes from outside of docs/, beside the README.
_AROUND = (
    *("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE"),
    *("envoy/envoy.yaml", "envoy/envoy-tls.yaml", "envoy/envoy-spire.yaml"),
)
_ABROAD = re.compile(r"(?:https?:)?//")


class Links(HTMLParser):
    """What a page links to, and what a browser loads to show it."""

    def __init__(self, text: str) -> None:
        """Read a page."""
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a link, or a part of the page that is loaded."""
        given = dict(attrs)
        if tag == "a" and given.get("href"):
            self.links.append(str(given["href"]))
        elif place := given.get("src") or (tag == "link" and given.get("href")):
            self.loaded.append(str(place))


def build(folder: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """Build the site of a checkout, as `make check` does."""
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "-f", folder / "mkdocs.yml", "-d", site],
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the built site."""
    folder = tmp_path_factory.mktemp("site")
    result = build(ROOT, folder)
    assert result.returncode == 0, result.stderr
    assert "WARNING" not in result.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Links]:
    """Return each page by its address."""
    return {
        f"/{path.relative_to(site)}".removesuffix("index.html"): Links(path.read_text())
        for path in site.rglob("index.html")
    }


def test_every_page_is_near(pages: dict[str, Links]) -> None:
    """The navigation of the home page leads to every page."""
    reached = {urljoin("/", link).partition("#")[0] for link in pages["/"].links}

    assert len(pages) > 50
    assert pages.keys() - reached - {"/"} == set()


def test_the_navigation_shows_a_section_at_once() -> None:
    """A click to a section's tab shows all of its pages: the second click is to any of them."""
    features = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["theme"]["features"]

    assert {"navigation.tabs", "navigation.expand"} <= {*features}
    assert "navigation.prune" not in features


def test_nothing_is_loaded_from_elsewhere(site: Path, pages: dict[str, Links]) -> None:
    """Pages load no script, style, font or picture from another host."""
    loaded = {place for page in pages.values() for place in page.loaded}
    styles = "".join(path.read_text() for path in site.rglob("*.css"))

    assert any(place.endswith(".css") for place in loaded)
    assert {place for place in loaded if _ABROAD.match(place)} == set()
    assert re.findall(r"(?:@import|url\()\s*[\"']?(?:https?:)?//[^)]*", styles) == []


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("authz_decisions_total", "reference/metrics/"),
        ("authz_decision_duration_seconds_bucket", "reference/metrics/"),
        ("policy_denied", "reference/reasons/"),
        ("jwks_uri", "reference/config/issuers/#issuerskeys"),
        ("max_connection_age", "reference/config/server/"),
        ("trust_domains", "reference/config/"),
    ],
)
def test_search_finds_names(site: Path, text: str, place: str) -> None:
    """Search finds a name as it is on the wire or in the config, first of all in the reference."""
    index = json.loads((site / "search" / "search_index.json").read_text())
    found = {
        entry["location"]: entry.get("boost", 1) for entry in index["docs"] if text in entry["text"]
    }

    assert place in found
    assert all(found[place] > found[at] for at in found if not at.startswith("reference/"))


def test_the_schema_is_part_of_it(site: Path) -> None:
    """Editors can take the schema from the site."""
    assert (site / "schema.json").read_bytes() == (ROOT / "docs" / "schema.json").read_bytes()
    assert [*site.rglob("*.py")] == []


def test_dead_links_fail(tmp_path: Path) -> None:
    """The build fails at a link to no page, to no anchor, or to a file that is not in the site."""
    for place in ("docs/site_hook.py", "docs/reference/reasons.md", "mkdocs.yml"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / place, tmp_path / place)
    for place in (*_AROUND, "docs/howto/refused-token.md"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_text("text\n")
    settings = yaml.safe_load((tmp_path / "mkdocs.yml").read_text())
    settings["nav"] = ["index.md", "reference/reasons.md"]
    settings["validation"]["nav"]["omitted_files"] = "ignore"
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(settings))
    good = "[a](docs/reference/reasons.md#policy_denied) [b](envoy/envoy.yaml) [c](LICENSE)\n"
    bad = "[d](docs/none.md) [e](docs/reference/reasons.md#none) [f](#nowhere) [g](authz/x.py)\n"

    (tmp_path / "README.md").write_text(f"# Home\n\n{good}")
    taken = build(tmp_path, tmp_path / "site")
    (tmp_path / "README.md").write_text(f"# Home\n\n{good}{bad}")
    refused = build(tmp_path, tmp_path / "site")

    assert (taken.returncode, refused.returncode) == (0, 1), taken.stderr
    told = [line for line in refused.stderr.splitlines() if line.startswith("WARNING")]
    assert [re.findall("'([^']+)'", line)[1] for line in told] == [
        "none.md",
        "authz/x.py",
        "#nowhere",
        "reference/reasons.md#none",
    ]
