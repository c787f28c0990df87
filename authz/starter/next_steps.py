"""The commands that follow ``authz init``, as they are printed and as the README shows them."""

import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from authz.starter.settings import StarterSettings

_LOCAL_ENVOY: Final = ".venv-envoy/bin/envoy"  # where `make setup` installs it
_COMMAND: Final = "authz"
_PATH: Final = "/finance/balance"


@dataclass(frozen=True, slots=True)
class Programs:
    """How the programs are called from the working directory.

    Attributes:
        missing: those that were not found.
    """

    authz: str
    envoy: str
    missing: tuple[str, ...] = ()

    @classmethod
    def found(cls, called: str) -> Self:
        """Find them; ``called`` is how this very command was called (``argv[0]``)."""
        envoy = _LOCAL_ENVOY if Path(_LOCAL_ENVOY).exists() else "envoy"
        missing = tuple(name for name in (envoy, "curl") if shutil.which(name) is None)
        return cls(_authz(called), envoy, missing)


def _authz(called: str) -> str:
    """Return the command in the caller's form: a shell replaces "authz" by its path."""
    path = Path(called)
    if path.name != _COMMAND or path.parent == Path():  # a module, or a name alone
        return _COMMAND
    return _COMMAND if called == shutil.which(_COMMAND) else shlex.quote(called)


@dataclass(frozen=True, slots=True)
class Step:
    """A command, and its purpose."""

    title: str
    command: str


def next_steps(settings: StarterSettings, programs: Programs) -> tuple[list[Step], list[Step]]:
    """Return the steps to the first allowed request, and those that show more."""
    return list(_first(settings, programs)), list(_further(settings, programs))


def _first(settings: StarterSettings, programs: Programs) -> Iterator[Step]:
    config, bootstrap = _quoted(settings, "authz.yaml"), _quoted(settings, "envoy.yaml")
    yield Step("the server", f"{programs.authz} serve {config} &")
    envoy = f"{programs.envoy} --disable-hot-restart -l warning -c {bootstrap} &"
    yield Step("Envoy", envoy)
    agent = settings.agent_names[0]
    yield Step(f"a request of the {agent} agent for alice", _request(settings, programs, agent))


def _further(settings: StarterSettings, programs: Programs) -> Iterator[Step]:
    agent, *others = settings.agent_names
    for other in others[:1]:
        yield Step(
            "the same token from another agent: 403 actor_mismatch",
            _request(settings, programs, other),
        )
    yield Step(
        "a request that no grant allows: 403 policy_denied",
        _request(settings, programs, agent, method="-X DELETE "),
    )
    config = _quoted(settings, "authz.yaml")
    yield Step(
        "why, without a server or a token",
        f"{programs.authz} explain {config} DELETE {settings.url}{_PATH} \\\n"
        f"  --agent {settings.agents[agent]} --principal alice --scope balance:read",
    )


def _request(settings: StarterSettings, programs: Programs, sender: str, method: str = "") -> str:
    """Return a pipe: the token goes by standard input, as others can read a command's arguments."""
    folder = shlex.quote(settings.folder_path)
    ca, pem, key = (
        _quoted(settings, name) for name in ("ca.pem", f"{sender}.pem", f"{sender}.key")
    )
    return (
        f"{programs.authz} token make {folder} --agent {settings.agent_names[0]} --principal alice "
        "--scope balance:read --header |\n"
        f"  curl -sS --retry 6 --retry-connrefused -H @- --cacert {ca} \\\n"
        f"  --cert {pem} --key {key} {method}{settings.url}{_PATH}"
    )


def _quoted(settings: StarterSettings, name: str) -> str:
    return shlex.quote(settings.path(name))
