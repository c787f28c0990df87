"""Says why a call of the SPIFFE Workload API failed, and what to do about it.

The library's own errors show only a class, and their texts may quote received data.
"""

import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

_UNIX: Final = "unix:"
_PROBE_SECONDS: Final = 1.0  # a unix socket of this machine answers at once, or is busy
_CHAIN: Final = 8  # the depth of chained errors; the library's chains have two
_IDENTITY: Final = (
    "the agent at {path} has no identity for this process: create a registration entry whose"
    " selectors fit it (its user, or its pod's service account)"
)
_NOT_THE_API: Final = (
    "{path} is not the Workload API: name the socket of the SPIFFE agent for workloads, and not its"
    " admin's, its server's or a proxy's"
)
# By the status of the call.
_WORDS: Final[Mapping[str, str]] = {
    "PERMISSION_DENIED": _IDENTITY,
    "DEADLINE_EXCEEDED": (
        "no answer of {path} within {seconds:g}s: is the agent healthy, and its server reachable?"
    ),
    "UNIMPLEMENTED": _NOT_THE_API,
    "UNKNOWN": _NOT_THE_API,
    "INVALID_ARGUMENT": "{path} takes no calls of ours: is a proxy between us and the agent?",
    "RESOURCE_EXHAUSTED": "the agent at {path} has too much to do: ask it less, or give it more",
}


def why_failed(address: str, error: Exception, seconds: float) -> str:
    """Say why a call with ``seconds`` of time failed; ``error`` is the library's exception.

    Blocks for a second at most, to test whether the socket answers.
    """
    path = address.removeprefix(_UNIX).removeprefix("//")
    if unreachable := _unreachable(path):
        return f"the Workload API: {unreachable}"
    status = _status_of(error)
    if status == "":
        return f"the Workload API: the answer of {path} can't be used ({type(error).__name__})"
    words = _WORDS.get(status, _NOT_THE_API).format(path=path, seconds=seconds)
    return f"the Workload API: {words} ({status})"


def _status_of(error: BaseException) -> str:
    """Return the name of the gRPC status that caused an error, "" for another cause."""
    cause: BaseException | None = error
    for _ in range(_CHAIN):
        code = getattr(cause, "code", None)
        if callable(code):
            return str(getattr(code(), "name", ""))
        cause = None if cause is None else cause.__cause__
    return ""


def _unreachable(path: str) -> str:
    """Say why this process can't connect to a socket; "" if it can."""
    if not path.startswith("/"):
        return f"a socket's path is absolute: write {_UNIX}/{path}"
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_PROBE_SECONDS)
        try:
            probe.connect(path)
        except FileNotFoundError:
            return f"there is no socket {path}: is the agent running, and the socket mounted here?"
        except PermissionError:
            return (
                f"this process may not open {path}: let its user or group write to the socket, and"
                " search its folders"
            )
        except ConnectionRefusedError:
            kind = "nobody listens on it: is the agent running?"
            with suppress(OSError):
                kind = kind if Path(path).is_socket() else "it is a file, and not a socket"
            return f"{path} can't be opened: {kind}"
        except OSError as error:
            return f"{path} can't be opened: {error.strerror or 'no answer'}"
    return ""
