"""``authz init`` and ``authz token make``: what they write and print, and what they refuse."""

import os
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from authz.starter.next_steps import Programs
from lab.envoy import envoy_binary
from support.clone import fresh_clone, run_script
from support.verbs import run

SECRETS = {"envoy.key", "issuer.jwk", "payments.key", "travel.key"}
OTHERS = {
    *(".gitignore", "authz.yaml", "ca.pem", "envoy.pem", "envoy.yaml", "jwks.json"),
    *("payments.pem", "schema.json", "travel.pem"),
}
MADE = ("token", "make", "try", "--agent", "travel", "--principal", "alice")


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in a folder of its own."""
    monkeypatch.chdir(tmp_path)


def mode(path: Path) -> int:
    """Return a file's permissions."""
    return stat.S_IMODE(path.stat().st_mode)


def tree(folder: Path) -> dict[str, bytes]:
    """Return the bytes of each file."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_folder(capsys: pytest.CaptureFixture[str]) -> None:
    """The folder and its secrets are their owner's alone, and the config passes its check."""
    assert run("init") == 0
    folder = Path("try")
    assert {path.name for path in folder.iterdir()} == SECRETS | OTHERS
    assert mode(folder) == 0o700
    assert {mode(folder / name) for name in SECRETS} == {0o600}
    assert {mode(folder / name) for name in OTHERS} == {0o644}
    capsys.readouterr()

    assert run("check", "try/authz.yaml") == 0
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning == (
        "warning: try/authz.yaml:8: issuers[0].issuer: authz init made its key, for trying: "
        "anybody who can read issuer.jwk can make its tokens"
    )
    assert run("check", "--strict", "try/authz.yaml") == 1


def test_secrets_whatever_the_umask() -> None:
    """Nobody else can read a key, even where files are made for everybody."""
    before = os.umask(0)
    try:
        assert run("init", "open") == 0
    finally:
        os.umask(before)

    assert mode(Path("open")) == 0o700
    assert {mode(Path("open") / name) for name in SECRETS} == {0o600}


def test_agents_of_ones_own(capsys: pytest.CaptureFixture[str]) -> None:
    """Named agents have certificates, entries and tokens; the printed commands are theirs."""
    assert run("init", "try", "--agent", "cook", "--agent", "waiter", "--agent", "7") == 0
    out = capsys.readouterr().out
    assert {path.name for path in Path("try").glob("*.pem")} == {
        *("ca.pem", "envoy.pem", "cook.pem", "waiter.pem", "7.pem"),
    }
    assert "certificates of cook, waiter, 7." in out
    assert "a request of the cook agent for alice" in out
    assert "--cert try/waiter.pem" in out
    assert "travel" not in out
    asked = ("GET", "https://localhost:8443/finance/balance", "--principal", "alice")
    for name in ("cook", "waiter", "7"):
        agent = f"spiffe://corp.example/ns/agents/sa/{name}"
        scope = ("--scope", "balance:read")
        assert run("explain", "try/authz.yaml", *asked, "--agent", agent, *scope) == 0
    assert capsys.readouterr()
    assert run("token", "make", "try", "--agent", "7", "--principal", "alice") == 0
    assert capsys.readouterr().out.count(".") == 2  # read here: it is a token, and no leak


def test_a_single_agent(capsys: pytest.CaptureFixture[str]) -> None:
    """With a single agent, there is no command for another agent's request."""
    assert run("init", "try", "--agent", "cook") == 0
    out = capsys.readouterr().out
    assert "actor_mismatch" not in out
    assert "403 policy_denied" in out


def test_an_agent_without_a_certificate(capsys: pytest.CaptureFixture[str]) -> None:
    """A token for an unknown short name is refused, and the words say how to make the agent."""
    assert run("init") == 0
    assert run("token", "make", "try", "--agent", "cook", "--principal", "alice") == 1
    assert "another folder with all of your agents, by authz init --agent NAME" in (
        capsys.readouterr().err
    )


def test_what_it_prints(capsys: pytest.CaptureFixture[str]) -> None:
    """It says that this is for trying, until when, and what to run next, with names in quotes."""
    assert run("init", "a b") == 0
    out = capsys.readouterr().out

    assert out.startswith("Wrote a b: a config,")
    assert "for trying only" in out
    assert "certificates end on 20" in out
    assert "serve 'a b/authz.yaml' &" in out
    assert "--cert 'a b/payments.pem'" in out


def test_a_folder_in_use_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """A second time, nothing changes: no key is ever replaced."""
    assert run("init", "try") == 0
    before = tree(Path("try"))

    assert run("init", "try") == 1
    assert "try is not empty, and no key in it is replaced" in capsys.readouterr().err
    assert tree(Path("try")) == before


def test_an_empty_folder_is_taken() -> None:
    """An empty folder is filled, and closed to others first."""
    Path("try").mkdir(mode=0o755)

    assert run("init", "try") == 0
    assert mode(Path("try")) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user(capsys: pytest.CaptureFixture[str]) -> None:
    """Keys are not written where somebody else could exchange them, as in a shared folder."""
    Path("try").mkdir()
    os.chown("try", 65534, 65534)

    assert run("init", "try") == 1
    assert "try belongs to another user" in capsys.readouterr().err
    assert not any(Path("try").iterdir())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a/b"], "a/b: there is no folder a to make it in"),
        (["file"], "file is not a folder"),
        (["a\nb"], "the folder's name has characters that can't be printed"),
        (["a\udcff"], "the folder's name has characters that can't be printed"),
        (["x", "--agent", "Cook"], "--agent: 'Cook' is not a short name such as travel"),
        (["x", "--agent", "a/b"], "--agent: 'a/b' is not a short name such as travel"),
        (["x", "--agent", ""], "--agent: '' is not a short name such as travel"),
        (["x", "--agent", "envoy"], "--agent: 'envoy' is the name of another certificate"),
        (["x", "--agent", "a", "--agent", "a"], "--agent: 'a' is given twice"),
        (["x", "--trust-domain", "Corp"], "--trust-domain: a trust domain has only a-z"),
    ],
)
def test_mistakes(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistake is told, and nothing is written."""
    Path("file").touch()

    assert run("init", *arguments) == 1
    assert words in capsys.readouterr().err
    assert [path.name for path in Path().iterdir()] == ["file"]


@pytest.mark.parametrize(
    "arguments",
    [
        *(["--port", port] for port in ("0", "65536", "x", "-1")),
        *(["--upstream", text] for text in ("a", "a:", ":1", "a b:1", "a:65536", "a}:1")),
    ],
)
def test_usage(arguments: list[str]) -> None:
    """A port or address that can't be is a usage error, and nothing is written."""
    with pytest.raises(SystemExit) as caught:
        run("init", "x", *arguments)

    assert caught.value.code == 2
    assert not Path("x").exists()


def test_a_file_that_cannot_be_written() -> None:
    """Where a file can't be written, none stays: nobody serves half of a folder."""
    Path("empty").mkdir()
    measured = ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")  # its file can't be written
    environment = {name: value for name, value in os.environ.items() if name not in measured}
    for name in ("try", "empty"):
        command = f"ulimit -f 16; {sys.executable} -m authz init {name}"  # KiB; the schema has 80
        words = ["bash", "-c", command]
        result = subprocess.run(words, env=environment, capture_output=True, check=False)

        assert result.returncode == 1
        assert result.stderr.endswith(b": File too large\n")
    assert not Path("try").exists()
    assert not any(Path("empty").iterdir())


def test_a_token(capsys: pytest.CaptureFixture[str]) -> None:
    """The token alone is on standard output, and the config's issuer takes it."""
    run("init")
    capsys.readouterr()
    assert run(*MADE, "--scope", "balance:read", "--group", "a", "--lifetime", "5m") == 0
    out, err = capsys.readouterr()
    assert out.count(".") == 2
    assert err.startswith("authz: a token for trying: travel acts for alice, scope balance:read,")
    Path("token").write_text(out)
    assert run("token", "check", "try/authz.yaml", "token") == 0
    capsys.readouterr()

    assert run(*MADE, "--header") == 0
    header = capsys.readouterr().out
    assert header.startswith("Authorization: Bearer ey")
    assert header.count("\n") == 1


def test_other_keys_sign_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a key that init made there is no token, and the words say what to do."""
    assert run(*MADE) == 1
    assert "try/issuer.jwk: No such file or directory. authz init try" in capsys.readouterr().err
    run("init")
    shutil.copy("try/travel.key", "try/issuer.jwk")
    capsys.readouterr()

    assert run(*MADE) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("authz: try/issuer.jwk is not a signing key that authz init made")


def test_a_try_out_key_under_another_name(capsys: pytest.CaptureFixture[str]) -> None:
    """A check warns of a try-out key whatever its issuer is called, and of its name without it."""
    run("init")
    config = Path("try/authz.yaml")
    ours = config.read_text()
    config.write_text(ours.replace("https://issuer.invalid", "https://as.corp.example"))
    capsys.readouterr()
    assert run("check", "--strict", str(config)) == 1
    assert "authz init made its key" in capsys.readouterr().err
    config.write_text(ours.replace("{file: try/jwks.json}", '{jwks_uri: "https://a.example/j"}'))

    assert run("check", "--strict", str(config)) == 1
    assert "authz init made its key" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["-x", "{x}", "a'b", "$(touch y)", "#x", "~", "*"])
def test_names_that_mean_something_else(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that looks like an option, a text or a command is nothing else where it stands."""
    assert run("init", "--", name) == 0
    folder = name if name == "a'b" else f"./{name}"
    out = capsys.readouterr().out

    assert f"authz serve {shlex.quote(f'{folder}/authz.yaml')} &" in out
    assert f"--cacert {shlex.quote(f'{folder}/ca.pem')} " in out
    assert f"token make {shlex.quote(folder)} " in out
    assert run("check", f"{folder}/authz.yaml") == 0
    assert [path.name for path in Path().iterdir()] == [name]


def test_how_the_command_was_called(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The commands call the programs as they are found, and missing programs are named."""
    for name in ("bin/authz", ".venv-envoy/bin/envoy", "b c/authz"):
        Path(name).parent.mkdir(parents=True)
        Path(name).touch(mode=0o755)
    on_path = str(tmp_path / "bin")
    monkeypatch.setenv("PATH", on_path)

    assert Programs.found(f"{on_path}/authz") == Programs(
        "authz", ".venv-envoy/bin/envoy", ("curl",)
    )
    assert Programs.found(".venv/bin/authz").authz == ".venv/bin/authz"
    assert Programs.found("b c/authz").authz == "'b c/authz'"
    assert Programs.found("authz").authz == "authz"
    assert Programs.found("/lib/authz/__main__.py").authz == "authz"
    shutil.rmtree(".venv-envoy")
    assert run("init") == 0
    out, err = capsys.readouterr()
    assert "\nenvoy --disable-hot-restart" in out
    assert [
        line.partition(", and the commands above need it: https://")[0] for line in err.splitlines()
    ] == [
        "authz: envoy was not found",
        "authz: curl was not found",
    ]


@pytest.mark.e2e
def test_envoy_takes_every_bootstrap(tmp_path: Path) -> None:
    """Envoy takes what is written, with each flag and for odd names."""
    flags = ["--upstream [::1]:8080", "--upstream up.example:80", "--trust-domain a_b-1 --port 1"]
    lines = [
        f"$AUTHZ init 'a b/{at}' {flags[at]} && "
        f"{envoy_binary()} --mode validate -l warning -c 'a b/{at}/envoy.yaml'"
        for at in range(len(flags))
    ]
    Path("a b").mkdir()

    result = run_script(f'AUTHZ="{sys.executable} -m authz"\n' + " && ".join(lines), tmp_path)

    assert result.returncode == 0, result.stderr
    assert result.stdout.count("OK") == len(flags)


@pytest.mark.e2e
def test_two_envoys_do_not_share_a_port(tmp_path: Path) -> None:
    """A second Envoy with a bootstrap of ours ends: the first has other certificates."""
    envoy = f"{envoy_binary()} --disable-hot-restart -l warning -c"
    script = f"""
        {sys.executable} -m authz init a
        {sys.executable} -m authz init b
        {envoy} a/envoy.yaml &
        until (exec 3<>/dev/tcp/127.0.0.1/8443) 2> /dev/null; do sleep 0.1; done
        {envoy} b/envoy.yaml
        kill %1
        wait
    """

    assert "cannot bind '127.0.0.1:8443'" in run_script(script, tmp_path).stderr


@pytest.mark.e2e
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_what_it_prints_can_be_run(tmp_path: Path) -> None:
    """With every flag, the printed commands reach an upstream of one's own, and are refused."""
    clone = fresh_clone(tmp_path)
    (clone / "finance").mkdir()
    (clone / "finance" / "balance").write_text("the balance\n")
    flags = "--upstream localhost:8080 --port 9443 --trust-domain other.example"
    script = f"""
        {sys.executable} -m http.server 8080 --bind 127.0.0.1 &
        .venv/bin/authz init 'a b' {flags} > said
        sed '1,/^Run next/d; /^Then/d' said > commands
        . ./commands
        kill %1 %2 %3
        wait
    """

    result = run_script(script, clone)

    lines = result.stdout.splitlines()
    assert lines.count("the balance") == 1, (result.stdout, result.stderr)
    assert "actor_mismatch: the caller is not the actor" in lines
    assert "policy_denied: not allowed" in lines
    assert "DENY        policy_denied: no rule of the agent allows the operation" in lines
