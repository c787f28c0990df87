"""Says in our words why the store can't be used: nothing that it sent is repeated."""

import re
from collections.abc import Mapping
from typing import Final

import redis

from authz.adapters.fetched import FetchError
from authz.adapters.http_connection import told_fault
from authz.adapters.store.place import NO_TLS
from authz.adapters.store.store import StoreAwayError, StoreError, StoreFullError

_CODE: Final = re.compile(r"[A-Z]{2,20}(?= |\Z)")
_IN_SCRIPT: Final = re.compile(r"\b(OOM|READONLY|NOREPLICAS|MISCONF|NOPERM) ")  # Redis 6 wraps them
_COMMAND: Final = re.compile(r"'([a-z]{1,20}(?:\|[a-z]{1,20})?)' command")
# What error codes mean; the client library takes some of the codes off, and makes classes of them.
_BY_CODE: Final[Mapping[str, str]] = {
    "NOREPLICAS": "it has too few replicas to write (min-replicas-to-write)",
    "MISCONF": "it can't write its snapshots to the disk, and so takes no changes",
    "BUSY": "it is busy with another script",
    "NOPROTO": "it is too old",
    "UNKILLABLE": "it is busy with another script",
    "DB": "it has no database of the number at the end of url",
}
_BY_CLASS: Final[tuple[tuple[type[redis.RedisError], str], ...]] = (
    (redis.exceptions.AuthenticationError, "it refuses our user or password"),
    (redis.exceptions.ReadOnlyError, "it is a replica, and not the primary server"),
    (redis.exceptions.BusyLoadingError, "it is still loading its data"),
    (redis.exceptions.MasterDownError, "it is a replica whose primary server is away"),
    (redis.exceptions.ClusterDownError, "its cluster is down"),
    (redis.exceptions.TryAgainError, "its cluster is moving our keys"),
    (redis.exceptions.MovedError, "another node of its cluster has our keys"),
    (
        redis.exceptions.AskError,
        "its cluster is moving our keys",
    ),  # the class above is a part of it
    (redis.exceptions.ClusterCrossSlotError, "its cluster divides our keys: the url names a node"),
)


def answered_fault(error: redis.ResponseError) -> StoreError:
    """Return the meaning of an error that the store answered."""
    text = str(error)
    if isinstance(error, redis.exceptions.OutOfMemoryError) or _in_script(text) == "OOM":
        return StoreFullError("the store is full: maxmemory")
    if isinstance(error, redis.exceptions.NoPermissionError) or _is_refusal(text):
        command = _COMMAND.search(text)
        what = f"run {command[1]}" if command else "do that, or touch that key or channel"
        return StoreAwayError(f"our user may not {what}: its access control list is too narrow")
    for kind, words in _BY_CLASS:
        if isinstance(error, kind):
            return StoreAwayError(words)
    return StoreAwayError(_of_code(_in_script(text) or _code(text)))


def _is_refusal(text: str) -> bool:
    # What versions say of a command, a key or a channel within a script.
    words = ("ACL failure in script", "The user executing the script can't")
    return any(part in text for part in words) or _in_script(text) == "NOPERM"


def _in_script(text: str) -> str:
    found = _IN_SCRIPT.search(text)
    return found[1] if found else ""


def _code(text: str) -> str:
    found = _CODE.match(text)
    return found[0] if found else "ERR"


def _of_code(code: str) -> str:
    return _BY_CODE.get(code, f"it answers with an error: {code}")


def broken_fault(error: Exception, deadline: float) -> StoreError:
    """Return the meaning of an exception after which a connection can't be used any more."""
    if isinstance(error, StoreError):
        return error
    if isinstance(error, redis.ResponseError):
        return answered_fault(error)
    return StoreAwayError(_broken(error, deadline))


def _broken(error: Exception, deadline: float) -> str:
    if isinstance(error, redis.TimeoutError | TimeoutError):
        return NO_TLS if NO_TLS in error.args else "it did not answer in time"
    for kind, words in _BY_CLASS:
        if isinstance(error, kind):
            return words
    is_connections = isinstance(error, redis.ConnectionError)
    cause = error.__context__ if is_connections else error
    if isinstance(cause, FetchError | OSError):
        return str(told_fault(cause, deadline))
    return "it closed the connection" if is_connections else "it answers in another protocol"
