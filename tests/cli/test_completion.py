"""Completion: real shells are offered verbs, flags, files, and names in the config."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from authz.cli.completing import MAX_BYTES
from authz.cli.parser.completion import SHELLS
from lab.config_builder import LAB
from lab.mesh import TRAVEL
from support.shells import run_script
from support.verbs import edit, run

ROOT = Path(__file__).parents[2]
# Presses the tab key after each line, and prints the line and what it is offered.
BASH = """\
source <(authz completion bash)
while IFS= read -r line; do
  COMP_LINE=$line COMP_POINT=${#line} COMP_TYPE=9 COMPREPLY=()
  _python_argcomplete authz
  echo "$line| ${COMPREPLY[*]}"
done <<'END'
"""
# Where it is unpacked its functions and modules are elsewhere than where it looks.
ZSH = """\
if [[ -d $SHELL_ROOT ]]; then
  module_path=($SHELL_ROOT/usr/lib/*/zsh/*(/))
  fpath=($SHELL_ROOT/usr/share/zsh/functions/**/*(/))
fi
autoload -U compinit && compinit -u -D
source <(authz completion zsh)
[[ ${_comps[authz]} == _python_argcomplete ]] || exit 1
_describe() { offered=("${(@P)2}") }
words=(authz)
while IFS= read -r BUFFER; do
  CURSOR=$#BUFFER offered=()
  _python_argcomplete
  print -r -- "$BUFFER|" ${offered[@]%%:*}
done <<'END'
"""
FISH = """\
authz completion fish | source
"""


def offered(shell: str, folder: Path, *lines: str) -> list[set[str]]:
    """Return the words that a shell is offered after each line."""
    if shell == "fish":
        asked = [f'echo "{line}|" (string split -f1 \\t (complete -C "{line}"))' for line in lines]
        script = FISH + "\n".join(asked) + "\n"
    else:
        script = {"bash": BASH, "zsh": ZSH}[shell] + "\n".join(lines) + "\nEND\n"
    told = run_script(shell, script, folder)
    assert [line.partition("|")[0] for line in told] == list(lines)
    return [set(line.partition("|")[2].split()) for line in told]


@pytest.mark.parametrize("shell", SHELLS)
def test_shells_are_offered_verbs_files_and_names(shell: str, config: Path) -> None:
    """A shell that read the script completes verbs, a config's file, and a route's name in it."""
    verbs, kinds, files, routes = offered(
        shell,
        config.parent,
        "authz wh",
        "authz preset key",
        "authz check au",
        "authz metadata authz.yaml ",
    )

    assert verbs == {"who-can", "what-can"}
    assert kinds == {"keycloak"}
    assert files == {"authz.yaml"}
    assert routes == {"finance"}


def test_a_hostile_config(tmp_path: Path) -> None:
    """Names run nothing, are one word each and no option; pipes, bombs and depths offer nothing."""
    names = ["$(touch no)", "`touch no`", "-rf", "a\n-rf", "a\x0b-rf", "\x1b[31m", "a'b"]
    routes = [{"name": name} for name in names]
    (tmp_path / "names.yaml").write_text(json.dumps({"routes": routes}))
    os.mkfifo(tmp_path / "pipe.yaml")
    merged = (f"a{at}: &a{at} {{<<: [{f'*a{at - 1}, ' * 8}]}}" for at in range(1, 9))
    (tmp_path / "bomb.yaml").write_text("\n".join(["a0: &a0 {x: y}", *merged, "routes: [*a8]"]))
    (tmp_path / "deep.yaml").write_text(f"routes: {'[' * 60_000}")

    files = ("names", "pipe", "bomb", "deep")
    named, *others = offered("bash", tmp_path, *(f"authz metadata {at}.yaml " for at in files))

    assert named == {"\\$\\(touch\\", "no\\)", "\\`touch\\", "no\\`", "a\\'b"}
    assert others == [set(), set(), set()]
    assert not (tmp_path / "no").exists()


def test_bash_is_offered_flags_and_choices(config: Path) -> None:
    """Flags come after a dash alone; choices, agents, issuers and principals where they belong."""
    flags, shells, agents, issuers, principals, nothing = offered(
        "bash",
        config.parent,
        "authz check --",
        "authz completion ",
        "authz what-can authz.yaml spiffe://corp.example/ns/agents/sa/t",
        "authz token check authz.yaml --agent ",
        "authz explain authz.yaml --principal ",
        "authz who-can authz.yaml --tool ",
    )

    assert flags == {"--help", "--strict", "--elsewhere", "--json"}
    assert shells == set(SHELLS)
    assert agents == {TRAVEL.partition(":")[2]}  # bash breaks words at a colon
    assert TRAVEL in issuers
    assert principals == {"alice"}
    assert not nothing


def test_bash_is_offered_tools(config: Path) -> None:
    """The tools that rules name are offered, without patterns."""
    rule = {"mcp": {"tools": ["transfer_money", "get_*"]}}
    edit(config, LAB.with_(("grants", "tools"), [rule]))
    [tools] = offered("bash", config.parent, "authz revoke authz.yaml --tool ")

    assert tools == {"transfer_money"}


@pytest.mark.parametrize(
    "text",
    ["routes: {", "routes: 7", "[]", "\0", "routes: [{name: a}]\n#" + "x" * MAX_BYTES, None],
    ids=["cut", "no list", "a list", "no text", "large", "absent"],
)
def test_a_config_that_cannot_be_read_offers_nothing(
    config: Path, text: str | None, tmp_path: Path
) -> None:
    """A config may hold anything while somebody writes it: nothing is offered, and nothing said."""
    config.unlink() if text is None else config.write_text(text)

    assert completed(f"authz metadata {config} ", tmp_path) == []


def test_names_in_included_files(config: Path, tmp_path: Path) -> None:
    """Names are looked up in the files that the config includes, too."""
    folder = tmp_path / "routes.d"
    folder.mkdir()
    (folder / "a.yaml").write_text("routes: [{name: trips}]")
    config.write_text("include: [routes.d/*.yaml]\n" + config.read_text())

    assert completed(f"authz metadata {config} ", tmp_path) == ["finance", "trips"]


def completed(
    line: str, folder: Path, script: str = "from authz.cli import main; main()"
) -> list[str]:
    """Return the words that the command offers a shell that asks about a line."""
    file = folder / "completions"
    asked = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(file),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "COMP_TYPE": "9",
    }
    done = subprocess.run(
        [sys.executable, "-c", script], env=asked, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return file.read_text().replace("\013", " ").split()


def test_quick(config: Path, tmp_path: Path) -> None:
    """Completion loads no library that reads a config; YAML's only where names are asked for."""
    script = (
        "import atexit, os, sys; from authz.cli import main;"
        "leave = os._exit;"
        "os._exit = lambda status: (note(), leave(status));"
        f"note = lambda: open({str(tmp_path / 'loaded')!r}, 'w').write(' '.join(sys.modules));"
        "main()"
    )
    heavy = {"pydantic", "grpc", "cryptography", "urllib3", "msgspec", "google.protobuf"}
    for line, names, has_yaml in (
        ("authz wh", ["what-can", "who-can"], False),
        (f"authz metadata {config} ", ["finance"], True),
    ):
        assert sorted(completed(line, tmp_path, script)) == names
        loaded = set((tmp_path / "loaded").read_text().split())
        assert not heavy & loaded
        assert ("yaml" in loaded) == has_yaml


def test_a_normal_start_loads_no_completion() -> None:
    """Whoever does not ask for completions pays nothing for them."""
    script = "import sys, authz.cli.parser as p; p.read_arguments(['schema']); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", f"import authz.cli; {script}"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "argcomplete" not in done.stdout.split()


def test_scripts(capsys: pytest.CaptureFixture[str]) -> None:
    """Each script is for the command authz; another shell is a usage error that names these."""
    for shell in SHELLS:
        assert run("completion", shell) == 0
        assert "authz" in capsys.readouterr().out
    with pytest.raises(SystemExit) as caught:
        run("completion", "tcsh")
    assert caught.value.code == 2
    assert "'bash', 'zsh', 'fish'" in capsys.readouterr().err
