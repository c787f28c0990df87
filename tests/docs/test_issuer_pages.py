"""The pages on issuers are true: their tokens, made and sent, end as the pages say."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml

from authz.config import load_text
from authz.core.delegation.presets import PRESETS
from authz.core.issuer_kind import IssuerKind
from authz.review.config_check.lint import config_warnings
from lab.config_builder import AT_ISSUER, LAB
from lab.issuer import MADE
from support.issuer_pages import Sent, read_configs, read_page, with_config
from support.world import World, check_request, reason_of

_SETTING = re.compile(r"`([\w.]+: [^`]+)`")
HOWTO = Path(__file__).parents[2] / "docs" / "howto"
# The page on Keycloak is run with a real one (``tests/keycloak``).
LISTED = {*HOWTO.glob("tokens-from-*.md")} - {HOWTO / "tokens-from-keycloak.md"}
PAGES = sorted([*LISTED, HOWTO / "which-issuer.md"])
SENT = [(page.stem, sent) for page in PAGES for sent in read_page(page)]


@pytest.fixture(scope="module")
def world_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], World]]:
    """Return the core with a page's config, the same one for each of the page's tokens."""
    worlds: dict[str, World] = {}
    with ExitStack() as opened:

        def find(config: str) -> World:
            if config not in worlds:
                folder = tmp_path_factory.mktemp("page")
                worlds[config] = opened.enter_context(World(folder, with_config(config, folder)))
            return worlds[config]

        yield find


@pytest.mark.parametrize(
    ("page", "sent"),
    SENT,
    ids=[f"{page}-{at}: {sent.name[:40]}" for at, (page, sent) in enumerate(SENT)],
)
def test_a_token_of_a_page(page: str, sent: Sent, world_of: Callable[[str], World]) -> None:
    """A token is allowed in the mode that the page says, or refused for the reason it says."""
    world = world_of(sent.config)
    svid = world.authority.issue(sent.caller)
    answer = world.check(
        check_request(
            svid,
            sent.headers,
            method=sent.method,
            path=sent.path,
            principal=sent.caller,
        )
    )
    record = world.audit_records()[-1]

    reason = "allow" if sent.is_allowed else sent.word
    assert reason_of(answer) == reason, (page, record["detail"])
    assert record["mode"] == sent.word if sent.is_allowed else record["detail"]


def test_each_page_has_what_is_right_and_near_misses() -> None:
    """A page has at least a token that is allowed, and two that nearly are."""
    for page in PAGES:
        ends = [sent.is_allowed for name, sent in SENT if name == page.stem]
        assert ends.count(True) >= 1, page
        assert ends.count(False) >= 2, page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_configs_leave_no_doubt(page: Path) -> None:
    """`authz check` has nothing to say of a config that is to be copied."""
    for text in read_configs(page):
        config = load_text(text.encode(), page.name)

        assert list(config_warnings(config, datetime.now(UTC))) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_kind_means(page: Path) -> None:
    """A page that says what a kind means names each of its lines, with its value."""
    text = page.read_text()
    for kind, words in re.findall(r"`kind: (\w+)` means (.*?)\.\s", text, re.DOTALL):
        settings = _SETTING.findall(" ".join(words.split()))
        told = dict(yaml.safe_load(setting).popitem() for setting in settings)
        lines = dict(PRESETS[IssuerKind(kind)].lines)
        claim = lines.pop("actor")["claim"]
        lines |= {} if claim == "act" else {"actor.claim": claim}

        assert {name: _listed(value) for name, value in told.items()} == {
            name: _listed(value) for name, value in lines.items()
        }


def _listed(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _marked(page: Path, language: str) -> list[str]:
    """Return the blocks of a language that are marked as tests, or all if it is not sh."""
    mark = "<!-- test -->\n" if language == "sh" else ""
    return re.findall(
        f"^{mark}```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE
    )


def test_tokens_and_certificates_of_ones_own(tmp_path: Path) -> None:
    """What the page's script and commands make is allowed with the page's config."""
    page = HOWTO / "tokens-from-your-own-issuer.md"
    (tmp_path / "make_token.py").write_text(_marked(page, "python")[0])
    (text,) = read_configs(page)
    (tmp_path / "authz.yaml").write_text(text)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    commands = _marked(page, "sh")
    assert len(commands) == 2
    for command in commands:
        subprocess.run(["sh", "-ec", command], cwd=tmp_path, env=environment, check=True)
    token = (tmp_path / "token").read_text().strip()
    MADE.append(token)
    certificate = quote((tmp_path / "agent.crt").read_text(), safe="")
    config = LAB.and_(with_config(text, tmp_path)).with_(
        (*AT_ISSUER, "keys"), {"file": str(tmp_path / "jwks.json")}
    )

    with World(tmp_path, config) as world:
        header = ("authorization", f"Bearer {token}")
        asked = check_request(None, [header], certificate=certificate)
        assert reason_of(world.check(asked)) == "allow"
