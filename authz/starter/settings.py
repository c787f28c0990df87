"""The choices for the folder that ``authz init`` writes."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from authz.core.spiffe import SpiffeId, SpiffeIdError, TrustDomain
from authz.starter.errors import StarterError

AGENTS: Final = ("travel", "payments")
_AGENT: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)  # a file's name too
_TAKEN: Final = frozenset({"ca", "envoy"})  # ca.pem is the CA's, envoy.pem is Envoy's
SERVER_ADDRESS: Final = ("127.0.0.1", 9191)  # of authz serve; a socket's path may be too long


@dataclass(frozen=True, slots=True)
class StarterSettings:
    """The choices, all with defaults.

    Attributes:
        folder: the folder, as the user wrote it: the files name each other from here.
        trust_domain: of the agents' SPIFFE IDs.
        port: where Envoy takes the agents' requests, on 127.0.0.1.
        upstream: host and port of the upstream; None: Envoy itself answers, and shows what an
            upstream would receive.
        agent_names: the agents' short names, at least one. Requests to try come from the first.
    """

    folder: Path
    trust_domain: str = "corp.example"
    port: int = 8443
    upstream: tuple[str, int] | None = None
    agent_names: Sequence[str] = AGENTS

    def __post_init__(self) -> None:
        """Check the names that go into files. Raises StarterError."""
        if not str(self.folder).isprintable():  # a line break, a byte that is not UTF-8
            raise StarterError("the folder's name has characters that can't be printed")
        try:
            TrustDomain.parse(self.trust_domain)
        except SpiffeIdError as error:
            raise StarterError(f"--trust-domain: {error}") from None
        for at, name in enumerate(self.agent_names):
            if problem := _problem_of(name, self.agent_names[:at]):
                raise StarterError(f"--agent: {name!r} {problem}")

    @property
    def url(self) -> str:
        """The URL of Envoy, which is also the tokens' audience."""
        return f"https://localhost:{self.port}"

    @property
    def agents(self) -> Mapping[str, str]:
        """The agents' SPIFFE IDs by their short names."""
        return {name: self.spiffe_id(name) for name in self.agent_names}

    def spiffe_id(self, name: str) -> str:
        """Return the SPIFFE ID of a short name."""
        return str(SpiffeId.parse(f"spiffe://{self.trust_domain}/ns/agents/sa/{name}"))

    @property
    def folder_path(self) -> str:
        """The folder as files and commands name it: "-x" would be an option, "{x}" a text."""
        text = str(self.folder)
        return text if text[0].isalnum() or text[0] in "/._" else f"./{text}"

    def path(self, name: str) -> str:
        """Return the path of a file of the folder, from the working directory."""
        return name if self.folder_path == "." else f"{self.folder_path}/{name}"


def _problem_of(name: str, others: Sequence[str]) -> str:
    """Return why an agent can't be called so; "" if it can."""
    if _AGENT.fullmatch(name) is None:
        return "is not a short name such as travel: up to 63 of a-z, 0-9, - and _, no - or _ first"
    if name in _TAKEN:
        return "is the name of another certificate: write another"
    return "is given twice" if name in others else ""
