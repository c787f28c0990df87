"""The table of RPC methods that are answered, by service: bytes and a deadline in, bytes out.

Any transport can serve them. A method answers in two steps. So a transport with a single thread
gives cached answers at once, makes decisions that need no wait at once, and hands only checks that
must wait to other threads. A further dialect is a folder here, and a row in the table.
"""

from collections.abc import Mapping
from typing import Final, Protocol

from authz.edge.agentgateway import McpGuardrails
from authz.edge.clock import TimeRemaining
from authz.edge.envoy import Authorization
from authz.edge.service import CheckService

AUTHORIZATION: Final = "envoy.service.auth.v3.Authorization"
EXT_MCP: Final = "agentgateway.dev.ext_mcp.ExtMcp"


class Undecided(Protocol):
    """A message that was read, and whose answer is not cached. One thread at a time uses it."""

    def decide(self, time_remaining: TimeRemaining, *, may_wait: bool) -> bytes | None:
        """Return the answer. Never raises.

        Without ``may_wait`` it never waits and does no long work. If it would have to, it returns
        None; that check is neither recorded nor counted, and the caller calls it again with
        ``may_wait``, perhaps in another thread. With ``may_wait`` there is always an answer.

        ``time_remaining`` gives the seconds that the caller still waits, None for no deadline.
        """


class Method(Protocol):
    """A method of an RPC service, which answers one call at a time, from many threads."""

    def begin(self, data: bytes, proxy: str = ..., /) -> bytes | Undecided:
        """Return the answer to a message if it is cached, or if the message can't be read.

        Else return the undecided check. Never raises, and never waits: its time grows with the
        message only. ``proxy`` is the SPIFFE ID of the caller, "" if its connection has no SPIFFE
        ID.
        """


Methods = Mapping[str, Mapping[str, Method]]


def answer(method: Method, data: bytes, time_remaining: TimeRemaining, proxy: str = "", /) -> bytes:
    """Return the answer to a message in one step, which may wait: for transports with threads.

    Never raises. The arguments are those of ``Method.begin`` and ``Undecided.decide``.
    """
    begun = method.begin(data, proxy)
    if isinstance(begun, bytes):
        return begun
    answered = begun.decide(time_remaining, may_wait=True)
    if answered is None:  # never happens: and an empty answer would be an allow
        raise AssertionError
    return answered


def methods_of(service: CheckService) -> Methods:
    """Return the methods that a service answers, by gRPC service and method name."""
    guardrails = McpGuardrails(service)
    return {
        AUTHORIZATION: {"Check": Authorization(service)},
        EXT_MCP: {
            "CheckRequest": guardrails.check_request,
            "CheckResponse": guardrails.check_response,
        },
    }
