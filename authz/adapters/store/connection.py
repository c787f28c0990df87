"""A connection to the store's primary server, whose memory is known by an id."""

import contextlib
import select
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import redis
from redis.connection import AbstractConnection

from authz.adapters.store.faults import answered_fault, broken_fault
from authz.adapters.store.place import BoundedSocket, Context, Place, opened
from authz.adapters.store.script import Script
from authz.adapters.store.store import StoreAwayError

CLIENT_NAME: Final = "agent-authz"
SMALL_BYTES: Final = 64 * 1024  # of an answer that holds no revocations; INFO has 8 KiB
LARGE_BYTES: Final = 64 * 1024 * 1024  # of an answer that holds them all
MAX_INFO_LINES: Final = 1000
_ID_PARTS: Final = ("run_id", "evicted_keys", "master_replid")
Command = tuple[bytes | str | int | float, ...]


class Credentials(msgspec.Struct, frozen=True):
    """A user, and the password; "" for none."""

    user: str | None = None
    password: str = ""

    def __repr__(self) -> str:
        """Hide the password."""
        return f"Credentials({self.user!r})"


class UnfitError(StoreAwayError):
    """The server answers, and must not be used as a store."""


class ServerFacts(msgspec.Struct, frozen=True):
    """What a server says of itself when a client connects.

    Attributes:
        engine, version: such as valkey, 8.1.0.
        role: "master" for the primary server.
        policy: what it does when its memory is full.
        id: of its memory: another after each restart, after keys were evicted, and after it has
            followed another server.
    """

    engine: str
    version: str
    role: str
    policy: str
    id: str

    def check(self) -> None:
        """Require a primary server that forgets nothing. Raises UnfitError."""
        if self.role != "master":
            raise UnfitError("it is a replica, and not the primary server")
        if self.policy != "noeviction":
            raise UnfitError(
                "its maxmemory-policy is not noeviction: it would forget used proofs and"
                " revocations when it is full"
            )
        if not all(self.id.split(":")):
            raise UnfitError(f"its INFO has not all of {', '.join(_ID_PARTS)}")


class _Wire(AbstractConnection):
    """The client library's connection, over a socket that we open."""

    host = "the store"

    def __init__(self, sock: BoundedSocket, credentials: Credentials, database: int) -> None:
        self._opened = sock
        made: dict[str, Any] = {"driver_info": None}  # our user need not be allowed CLIENT SETINFO
        super().__init__(
            db=database,
            username=credentials.user,
            password=credentials.password or None,
            client_name=CLIENT_NAME,
            protocol=2,  # in which no message comes between answers
            **made,
        )

    def _connect(self) -> BoundedSocket:
        return self._opened

    def _host_error(self) -> str:
        return self.host

    def repr_pieces(self) -> list[tuple[str, str]]:
        return []


class Connection:
    """A connection that many threads use in turn, each for a question and all of its answers.

    After any fault but an error that was answered it is closed: an answer may still come.

    Attributes:
        place: where its server is.
        facts: of its server; set by ``learn``.
        is_closed: whether it can't be used any more.
    """

    facts: ServerFacts

    def __init__(
        self,
        place: Place,
        context: Context | None,
        credentials: Credentials,
        deadline: float,
        database: int = 0,
    ) -> None:
        """Connect and authenticate, by the deadline. Raises StoreAwayError."""
        self.place = place
        self.is_closed = False
        self._wire: Any = None
        try:
            raw = opened(place, context() if context else None, deadline)
            self._socket = BoundedSocket(raw, deadline, SMALL_BYTES)
            self._wire = _Wire(self._socket, credentials, database)
            self._wire.connect()
        except Exception as error:  # noqa: BLE001 - hostile bytes in a foreign parser
            self.close()
            raise broken_fault(error, deadline) from None

    def learn(self, deadline: float) -> Mapping[str, str]:
        """Ask the server for its INFO, and keep its facts. Raises StoreAwayError."""
        told = self.ask([("INFO",)], deadline)[0]
        if isinstance(told, redis.ResponseError):
            raise answered_fault(told)
        if not isinstance(told, bytes):
            raise self.unusable("it does not answer INFO")
        lines = told.decode("utf-8", "replace").split("\r\n", MAX_INFO_LINES)
        found = dict(line.split(":", 1) for line in lines if ":" in line)
        self.facts = _facts(found)
        return found

    def ask(
        self, commands: Sequence[Command], deadline: float, max_bytes: int = SMALL_BYTES
    ) -> list[Any]:
        """Return the answers, with errors that were answered. Raises StoreAwayError."""
        self._socket.deadline, self._socket.readable_bytes = deadline, max_bytes
        try:
            self._wire.send_packed_command(self._wire.pack_commands(commands), check_health=False)
            return [self._answer() for _ in commands]
        except Exception as error:  # noqa: BLE001 - hostile bytes in a foreign parser
            self.close()
            raise broken_fault(error, deadline) from None

    def _answer(self) -> object:
        try:
            return self._wire.read_response()
        except redis.ResponseError as error:
            return error

    def run(
        self, script: Script, arguments: Command, then: Command, deadline: float, max_bytes: int
    ) -> list[Any]:
        """Run a script, and the command ``then`` if it is not empty. Raises StoreError."""
        after = [then] if then else []
        asked: list[Command] = [("EVALSHA", script.digest, *arguments), *after]
        answers = self.ask(asked, deadline, max_bytes)
        if isinstance(answers[0], redis.exceptions.NoScriptError):  # nothing has run
            asked[0] = ("EVAL", script.text, *arguments)
            answers = self.ask(asked, deadline, max_bytes)
        for answer in answers:
            if isinstance(answer, redis.ResponseError):
                raise answered_fault(answer) from None
        return answers

    def subscribe(self, channel: str, deadline: float) -> None:
        """Subscribe to a channel. Raises StoreAwayError."""
        told = self.ask([("SUBSCRIBE", channel)], deadline)[0]
        if isinstance(told, redis.ResponseError):
            raise answered_fault(told)
        if not isinstance(told, list) or told[:1] != [b"subscribe"]:
            raise self.unusable("it does not subscribe us")

    def message(self, deadline: float) -> bool:
        """Wait for a subscription's message; tell whether it is a message, and no PONG.

        Raises StoreAwayError.
        """
        self._socket.deadline, self._socket.readable_bytes = deadline, SMALL_BYTES
        try:
            told = self._wire.read_response()
        except Exception as error:  # noqa: BLE001 - hostile bytes in a foreign parser
            self.close()
            raise broken_fault(error, deadline) from None
        return isinstance(told, list) and told[:1] == [b"message"]

    def ping(self, deadline: float) -> None:
        """Ask for a PONG, which comes among the messages. Raises StoreAwayError."""
        self._socket.deadline = deadline
        try:
            self._wire.send_command("PING", check_health=False)
        except Exception as error:  # noqa: BLE001 - as above
            self.close()
            raise broken_fault(error, deadline) from None

    def is_quiet(self, seconds: float = 0.0) -> bool:
        """Tell whether nothing has come, not even the end, and nothing comes for so long."""
        if self.is_closed:
            return False
        poll = select.poll()  # select can't watch file descriptors above 1023
        poll.register(self._socket.fileno(), select.POLLIN)
        return not poll.poll(seconds * 1000)

    def unusable(self, words: str) -> StoreAwayError:
        """Close, and return an error in these words."""
        self.close()
        return StoreAwayError(words)

    def close(self) -> None:
        """Close it: what it still has to answer is never read."""
        self.is_closed = True
        with contextlib.suppress(Exception):
            if self._wire is not None:
                self._wire.disconnect()
            self._socket.close()


def _facts(found: Mapping[str, str]) -> ServerFacts:
    engine = "valkey" if "valkey_version" in found else "redis"
    return ServerFacts(
        engine=engine,
        version=found.get(f"{engine}_version", "")[:32],
        role=found.get("role", "")[:32],
        policy=found.get("maxmemory_policy", "")[:32],
        id=":".join(found.get(name, "")[:64] for name in _ID_PARTS),
    )


def in_seconds(seconds: float) -> float:
    """Return the deadline, monotonic, that is so far away."""
    return time.monotonic() + seconds
