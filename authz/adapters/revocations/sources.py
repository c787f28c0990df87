"""Joins the sources of revocations: an agent or a token that any of them names is refused."""

import threading
from collections.abc import Callable, Iterable
from typing import Final

from authz.adapters.revocation_file.settings import RevocationSettings
from authz.adapters.revocation_file.telling import RevocationStatus
from authz.adapters.revocation_file.watched import RevocationFile
from authz.adapters.revocations.stored import StoredRevocations
from authz.adapters.store.store import Register
from authz.core.decision import Agent, Delegation
from authz.core.request import Operation

STORE_SECONDS: Final = 1.0  # between two looks at the store, if it announces nothing


class RevocationSources:
    """The revocations in force: those of the file, and those of the store if there is one.

    A thread refreshes the file, another one has ``store`` look, and any thread may check.

    Attributes:
        generation: grows with every change, after the change.
        file, store: the sources; ``store`` is None if the config has none.
    """

    def __init__(self, settings: RevocationSettings, register: Register | None = None) -> None:
        """Read the file, and prepare to look at the store. Raises RevocationError."""
        self.generation = 0
        self._lock = threading.Lock()  # two threads add to the generation; readers need none
        self.file = RevocationFile(settings, self._changed)
        self._register = register
        self.store = (
            None if register is None else StoredRevocations(register, settings, self._changed)
        )

    def _changed(self) -> None:
        with self._lock:
            self.generation += 1

    def check(
        self, agent: Agent, delegation: Delegation, operations: tuple[Operation, ...]
    ) -> None:
        """Require that none is revoked, and that the store has said so recently enough.

        Raises Denied(AGENT_SUSPENDED | TOKEN_REVOKED | STOPPED | STORE_UNAVAILABLE).
        """
        self.file.current.check(agent, delegation, operations)
        if self.store is not None:
            self.store.check(agent, delegation, operations)

    def revoked_agents(self, agents: Iterable[str]) -> tuple[str, ...]:
        """Return those of the agents that are revoked."""
        named = tuple(agents)
        found = self.file.revoked_agents(named)
        return found if self.store is None else found + self.store.revoked_agents(named)

    def settle(self) -> None:
        """Wait until the file rests. Raises RevocationError."""
        self.file.settle()

    def refresh(self) -> None:
        """Put changes of the file into force, and note how long the store is away. Never waits."""
        if self.store is not None:
            self.store.absence.judge()
        self.file.refresh()

    def watch_store(self, wake: Callable[[], None]) -> None:
        """Have ``wake`` called when the store announces a change."""
        if self._register is not None:
            self._register.watch(wake)

    @property
    def is_ready(self) -> bool:
        """Tell whether requests may be served: revocations are known, or may be unknown."""
        return self.store is None or self.store.is_ready

    def status(self) -> tuple[RevocationStatus, ...]:
        """Return the state of each source."""
        file = self.file.status()
        return (file,) if self.store is None else (file, self.store.status())
