"""A world that also receives signals, over TLS, and writes them to its revocation file."""

import json
from contextlib import AbstractContextManager, ExitStack, closing
from pathlib import Path
from typing import Any, Self

from authz.adapters.signals.status import SignalResult
from authz.core.revocations import Revocation, read_entries
from authz.wiring.signals import open_signals
from lab.config_builder import LAB
from lab.mesh import ISSUER, Server
from support.transmitter import CLIENT, RECEIVER, Pusher, Transmitter
from support.world import World, reason_of, wait_until

EVENTS = "/events/as"
LOGOUTS = "/logouts/as"
TOKEN = "a-bearer-token-of-the-stream"


def address_of(server: Server) -> str:
    """Return the address on which a server last began to listen for signals."""
    lines = server.process.log.read_text().splitlines()
    told = [json.loads(line) for line in lines if '"receiving signals"' in line]
    return str(told[-1]["listen"])


class Receiving(AbstractContextManager["Receiving"]):
    """A world, its receiver, and a transmitter that posts to it."""

    def __init__(self, folder: Path, poll: dict[str, Any] | None = None, **changes: Any) -> None:
        """Start; ``changes`` are of the transmitter, ``poll`` replaces what is posted."""
        self.file = folder / "revoked.jsonl"
        self.file.write_bytes(b"")
        self.token_file = folder / "stream-token"
        self.token_file.write_text(TOKEN)
        with ExitStack() as opened:
            pushed = {"path": EVENTS, "token_file": str(self.token_file)}
            way = {"push": pushed} if poll is None else {"poll": poll}
            transmitter = {"issuer": ISSUER, "audiences": [RECEIVER], **way, **changes}
            by_session = {"by_session": True} if changes.get("by_session") else {}
            logout = {"issuer": ISSUER, "client_ids": [CLIENT], "path": LOGOUTS, **by_session}
            # A world has its authority only when it has begun.
            signals = {
                "listen": "127.0.0.1:0",
                "insecure": True,
                "transmitters": [transmitter],
                "logout": [logout],
            }
            edited = LAB.with_(("revocations",), {"file": str(self.file)})
            self.world = opened.enter_context(World(folder, edited.with_(("signals",), signals)))
            parts = self.world.parts
            made = open_signals(self.world.config, parts.keys, parts.shared.store)
            assert made is not None
            self.signals = made
            opened.enter_context(closing(self.signals))
            self.signals.start()
            self._opened = opened.pop_all()
        self.transmitter = Transmitter(self.world.issuer)
        assert self.signals.receiver is not None
        self.pusher = Pusher(f"http://{self.signals.receiver.address}", TOKEN)

    def __enter__(self) -> Self:
        """Return this."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._opened.close()

    def entries(self) -> list[Revocation]:
        """Return what the file has."""
        read = read_entries(self.file.read_bytes())
        return [entry for _, entry in read if isinstance(entry, Revocation)]

    def count(self, event: str, result: SignalResult) -> int:
        """Return how many signals ended so."""
        return self.signals.status().signals.get((ISSUER, event, result), 0)

    def decides(self, token: str) -> str:
        """Return "allow" or the reason of a refusal, by the file as it is now."""
        self.world.revocations.refresh()
        return reason_of(self.world.ask(token))

    def wait_until_refused(self, token: str) -> None:
        """Wait until a token is revoked."""
        wait_until(lambda: self.decides(token) == "token_revoked")
