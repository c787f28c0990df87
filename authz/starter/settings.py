"""What can be chosen about the folder that ``authz init`` writes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from authz.core.spiffe import SpiffeId, SpiffeIdError, TrustDomain
from authz.starter.errors import StarterError

AGENTS: Final = ("travel", "payments")
SERVER_ADDRESS: Final = ("127.0.0.1", 9191)  # of authz serve; a socket's path may be too long


@dataclass(frozen=True, slots=True)
class StarterSettings:
    """The choices, all with defaults.

    Attributes:
        folder: where everything goes, as it was written: the files name each other from here.
        trust_domain: of the agents' SPIFFE IDs.
        port: where Envoy takes the agents' requests, on 127.0.0.1.
        upstream: host and port of the upstream; None: Envoy itself answers, and tells what an
            upstream would receive.
    """

    folder: Path
    trust_domain: str = "corp.example"
    port: int = 8443
    upstream: tuple[str, int] | None = None

    def __post_init__(self) -> None:
        """Check the names that go into files. Raises StarterError."""
        if not str(self.folder).isprintable():  # a line break, a byte that is not UTF-8
            raise StarterError("the folder's name has characters that can't be printed")
        try:
            TrustDomain.parse(self.trust_domain)
        except SpiffeIdError as error:
            raise StarterError(f"--trust-domain: {error}") from None

    @property
    def url(self) -> str:
        """The URL of Envoy, which is also the tokens' audience."""
        return f"https://localhost:{self.port}"

    @property
    def agents(self) -> Mapping[str, str]:
        """The agents' SPIFFE IDs by their short names."""
        return {name: self.spiffe_id(name) for name in AGENTS}

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
