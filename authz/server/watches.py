"""Makes the threads that watch files and the store for changes; none waits for another."""

from functools import partial
from typing import Final, Protocol

from authz.adapters.revocations.sources import STORE_SECONDS
from authz.server.liveness import CONFIG, REVOCATIONS, STORE, Liveness
from authz.server.looking import PeriodicThread
from authz.server.reload import ConfigReload
from authz.wiring.shared import SharedState

REVOCATIONS_SECONDS: Final = 0.2  # how often the file is checked: how late a line may count
CONFIG_SECONDS: Final = 1.0  # how often the config's files are checked


class Sharing(Protocol):
    """The parts of a process, as far as they are watched."""

    @property
    def shared(self) -> SharedState:
        """What replicas share, or this process has alone."""

    def look_at_keys(self) -> bool:
        """Check the files of signing keys; return True to be called again soon."""


def build_watches(
    parts: Sharing, reload: ConfigReload, liveness: Liveness
) -> tuple[PeriodicThread, ...]:
    """Return a thread for the file of revocations, one for the config, and one for the store.

    The file's must never wait, as a line counts at once. Reading a config takes long, and the store
    may let its thread wait. The files of signing keys are looked at in the thread of the config: a
    new key has minutes.
    """
    beat, revocations = liveness.beat, parts.shared.revocations
    revocations.file.progress = partial(beat, REVOCATIONS)  # half a million lines take long

    def look_at_config() -> bool:
        is_pending = reload.look()
        return parts.look_at_keys() or is_pending

    watches = (
        PeriodicThread(REVOCATIONS, revocations.refresh, REVOCATIONS_SECONDS, beat),
        PeriodicThread(CONFIG, look_at_config, CONFIG_SECONDS, beat),
    )
    if revocations.store is None:
        return watches
    store = PeriodicThread(STORE, revocations.store.look, STORE_SECONDS, beat, is_prompt=True)
    revocations.watch_store(store.soon)
    return (*watches, store)
