"""The secret of DPoP nonces (RFC 9449 section 9): replicas agree on one through their store."""

import logging
import secrets
import threading
from typing import Final

from authz.adapters.store.store import Marks, StoreError

SECRET_BYTES: Final = 32  # as long as the HMAC's digest (RFC 2104 section 3)
_NAME: Final = "dpop-nonce"
_WAIT_SECONDS: Final = 5.0  # nobody waits for it
_RETRY_SECONDS: Final = 1.0
# A store that lost its memory may have another secret since.
_LOOK_SECONDS: Final = 30.0
_log: Final = logging.getLogger("authz.nonces")


class AgreedSecret:
    """This process's own secret, until the store says the one of all replicas.

    Until then, and after the store lost it, a client may get a nonce that another replica refuses:
    it costs the client another try.

    Attributes:
        value: the secret now.
    """

    def __init__(self, store: Marks, *, is_shared: bool) -> None:
        """Make a secret; only a shared store is asked for another."""
        self.value = secrets.token_bytes(SECRET_BYTES)
        self._store = store
        self._is_shared = is_shared
        self._needed, self._stopped = threading.Event(), threading.Event()

    def start(self) -> None:
        """Begin to ask a shared store, as soon as the secret is needed."""
        if self._is_shared:
            threading.Thread(target=self._run, name="nonces", daemon=True).start()

    def need(self) -> None:
        """Have the store asked from now on: clients get nonces, and no file has their secret."""
        self._needed.set()

    def close(self) -> None:
        """End the thread, soon."""
        self._stopped.set()
        self._needed.set()

    def _run(self) -> None:
        self._needed.wait()
        while not self._stopped.is_set():
            self._stopped.wait(self._asked())

    def _asked(self) -> float:
        """Ask the store once, and return the seconds until the next time."""
        try:
            agreed = self._store.agreed(_NAME, self.value, _WAIT_SECONDS)
        except StoreError:  # the store logs and counts it
            return _RETRY_SECONDS
        except Exception as error:  # noqa: BLE001 - the thread must go on
            _log.error("the nonces' secret can't be agreed on: %s", type(error).__name__)
            return _LOOK_SECONDS
        if len(agreed) == SECRET_BYTES:
            self.value = agreed
        else:
            _log.error("the nonces' secret in the store has not %d bytes", SECRET_BYTES)
        return _LOOK_SECONDS
