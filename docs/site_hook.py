"""Take files from outside of docs/ into the site (a hook of MkDocs): README.md is its home page.

Pages link to each other by their places in the repository, as forges show them. Here links are
changed to the places in the site, so that MkDocs finds each, or fails.
"""

import posixpath
import re
from pathlib import Path
from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).parents[1]
# By its place in the repository: the page of the site that shows it.
TAKEN: Final = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "LICENSE": "licence.md",
    "envoy/envoy.yaml": "envoy-config.md",
    "envoy/envoy-tls.yaml": "envoy-tls-config.md",
    "envoy/envoy-spire.yaml": "envoy-spire-config.md",
}
# How-tos name keys and reasons more often than the reference, to which a name has to lead first.
REFERENCE_BOOST: Final = 10
_PLACES: Final = {page: place for place, page in TAKEN.items()}
_CODE: Final = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_LINK: Final = re.compile(r"(?<=\]\()([^)#:\s]+)(?=[)#])")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files from outside of docs/."""
    for place, page in TAKEN.items():
        files.append(File.generated(config, page, content=_shown(place)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Change the links of a page to places in the site, and let search prefer the reference."""
    del config, files
    here = page.file.src_uri
    if here.startswith("reference/"):
        page.meta["search"] = {"boost": REFERENCE_BOOST}
    place = _PLACES.get(here, f"docs/{here}")
    parts = _CODE.split(markdown)
    codes = [*_CODE.findall(markdown), ""]
    changed = (_LINK.sub(lambda link: site_link(place, here, link[1]), part) for part in parts)
    return "".join(text + code for text, code in zip(changed, codes, strict=True))


def site_link(place: str, page: str, target: str) -> str:
    """Return what leads from a page to a link's target.

    ``place`` is the page's file in the repository, which the target is relative to.
    """
    found = posixpath.normpath(posixpath.join(posixpath.dirname(place), target))
    within = TAKEN.get(found, found.removeprefix("docs/"))
    return posixpath.relpath(within, posixpath.dirname(page) or ".")


def _shown(place: str) -> str:
    """Return the text of a file as a page: of another kind than Markdown, in a block of code."""
    text = (ROOT / place).read_text()
    if place.endswith(".md"):
        return text
    return f"# {place}\n\n```{Path(place).suffix[1:] or 'text'}\n{text}```\n"
