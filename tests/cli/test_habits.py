"""The habits that all verbs share: help, examples, exit status, ``--json``, standard input."""

import argparse
from pathlib import Path

import pytest

from authz.cli.parser import read_arguments
from authz.cli.parser.types import STDIN
from support.parsed_verbs import examples, verbs

VERBS = {name: (parser, summary) for name, parser, summary in verbs()}
# Verbs without --json, and why.
NO_JSON = {
    "authz init": "it prints the commands to run next",
    "authz token make": "it prints a token",
    "authz serve": "its log lines are JSON",
    "authz sts": "likewise",
    "authz health": "it prints the server's own answer, which is JSON",
    "authz metadata": "it prints a JSON document",
    "authz gateway": "it prints a proxy's config, which is YAML",
    "authz schema": "it prints a JSON document",
    "authz audit schema": "it prints a JSON document",
    "authz completion": "it prints a script",
}
# Verbs whose config can't be standard input, and why.
NO_STDIN = {"authz serve": "it reads the config again", "authz sts": "likewise"}


@pytest.fixture(params=sorted(VERBS))
def verb(request: pytest.FixtureRequest) -> str:
    """Each verb's name, such as "authz token check"."""
    return str(request.param)


def test_help_says_what_it_does(verb: str) -> None:
    """A verb has a summary, a description in sentences, and words for each argument."""
    parser, summary = VERBS[verb]
    assert summary
    assert not summary.endswith(".")
    assert (parser.description or "")[0].isupper()
    assert (parser.description or "").endswith(".")
    for action in parser._actions:
        assert action.help not in (None, "", "repeatable"), (verb, action.dest)


def test_help_ends_with_examples_and_exit_status(verb: str) -> None:
    """The help has examples that the parser takes, and tells the exit statuses, 0 and 2 too."""
    parser, _ = VERBS[verb]
    told = examples(parser)
    assert told
    for words in told:
        assert " ".join(words).startswith(verb)
        assert read_arguments(words[1:]).verb == parser.get_default("verb")
    status = (parser.epilog or "").rpartition("\n\n")[2]
    assert status.startswith("exit status: 0 ")
    assert ", 2 " in status


def test_an_unknown_flag(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A flag that the verb does not have is told with the verb's own usage."""
    parser, _ = VERBS[verb]
    words = examples(parser)[0][1:]

    with pytest.raises(SystemExit, match="2"):
        read_arguments([*words, "--jsno"])
    said = capsys.readouterr().err
    assert said.startswith(f"usage: {verb} ")
    assert said.endswith(f"{verb}: error: unrecognized arguments: --jsno\n")


def test_json_everywhere(verb: str) -> None:
    """A verb has --json, or a reason not to."""
    parser, _ = VERBS[verb]
    assert ("--json" in parser._option_string_actions) != (verb in NO_JSON)


def test_standard_input_everywhere(verb: str) -> None:
    """An argument that names a file to read takes - for standard input, and its help says so."""
    parser, _ = VERBS[verb]
    files = [action for action in parser._actions if action.metavar in ("CONFIG", "FILE", "CASES")]
    for action in files:
        assert callable(action.type)
        if verb in NO_STDIN:
            with pytest.raises(argparse.ArgumentTypeError, match="name a file"):
                action.type("-")
        else:
            assert action.type("-") == STDIN
            assert action.metavar == "CONFIG" or "- for standard input" in (action.help or "")


def test_standard_input_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Two arguments can't both be standard input."""
    for words in (["token", "check", "-"], ["replay", "-", "--audit", "-"], ["check", "-", "-"]):
        with pytest.raises(SystemExit) as caught:
            read_arguments(words)
        assert caught.value.code == 2
        assert "can be read only once" in capsys.readouterr().err


def test_config_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """AUTHZ_CONFIG is the config of every verb that takes one, unless an argument names another."""
    monkeypatch.setenv("AUTHZ_CONFIG", "from-environment.yaml")
    path = Path("from-environment.yaml")

    assert read_arguments(["keys"]).config == path
    assert read_arguments(["check"]).configs == [path]
    assert read_arguments(["check", "other.yaml"]).configs == [Path("other.yaml")]
