"""The first five minutes: a page's commands, copied as they are, lead to an allowed request."""

import re
import shutil
from pathlib import Path
from typing import Final

import pytest

from authz.starter.config_text import config_text
from authz.starter.next_steps import Programs, next_steps
from authz.starter.settings import StarterSettings
from support.clone import fresh_clone, run_script

ROOT: Final = Path(__file__).parents[2]
TUTORIAL: Final = ROOT / "docs" / "tutorial.md"
SETTINGS: Final = StarterSettings(Path("try"))
FIRST, FURTHER = next_steps(SETTINGS, Programs(".venv/bin/authz", ".venv-envoy/bin/envoy"))
_BLOCK: Final = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
_NUMBER: Final = re.compile(r"[0-9a-f]{32}")
# As the tutorial says; the server then writes the records that it has queued.
_END: Final = "kill %1 %2\nwait\n"
PAGES: Final = [
    page for page in (ROOT / "README.md", TUTORIAL) if "authz init try" in page.read_text()
]


def blocks(page: Path, language: str) -> list[str]:
    """Return the blocks of a language on a page."""
    return [match[2] for match in _BLOCK.finditer(page.read_text()) if match[1] == language]


def first_block(page: Path) -> str:
    """Return the block with the commands to the first request."""
    return next(text for text in blocks(page, "sh") if "authz init try" in text)


def answers(output: str) -> str:
    """Return what curl printed, among the logs' lines of JSON, without numbers of decisions."""
    lines = [line for line in output.splitlines() if line.startswith(_ANSWERED)]
    return _NUMBER.sub("N", "\n".join(lines)) + "\n"


_ANSWERED: Final = ("Allowed", "x-agent-", "authorization:", "actor_", "policy_", "decision:")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_are_those_that_init_prints(page: Path) -> None:
    """A page has five commands: setup, init, and what init prints."""
    commands = ["make setup", ".venv/bin/authz init try", *(step.command for step in FIRST)]

    assert len(commands) == 5
    assert first_block(page) == "\n".join(commands) + "\n"


def test_further_commands_are_those_that_init_prints() -> None:
    """The tutorial has each further command that init prints."""
    shown = blocks(TUTORIAL, "sh")

    assert len(FURTHER) == 3
    for step in FURTHER:
        assert f"{step.command}\n" in shown


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_config_is_the_one_that_init_writes(page: Path) -> None:
    """A page's config is what init writes, letter by letter."""
    assert config_text(SETTINGS) in blocks(page, "yaml")


@pytest.mark.e2e
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_first_request(tmp_path: Path) -> None:
    """From a clone, the commands lead to an allowed request and two refused ones, as shown."""
    refused = [text for text in blocks(TUTORIAL, "sh") if text.startswith(FURTHER[0].command[:40])]
    script = "".join([first_block(PAGES[0]), *refused, _END])

    result = run_script(script, fresh_clone(tmp_path))

    assert len(refused) == 2
    assert f"`{_END.splitlines()[0]}`" in TUTORIAL.read_text()
    assert answers(result.stdout) == _NUMBER.sub("N", "".join(blocks(TUTORIAL, "text"))), (
        result.stderr
    )
    assert '"reason":"actor_mismatch"' in result.stdout
