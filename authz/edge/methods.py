"""The table of RPC methods that are answered, by service: bytes and a deadline in, bytes out.

Any transport can serve them. A further dialect is a folder here, and a row in the table.
"""

from collections.abc import Mapping
from typing import Final, Protocol

from authz.edge.agentgateway import McpGuardrails
from authz.edge.clock import TimeRemaining
from authz.edge.envoy import Authorization
from authz.edge.service import CheckService

AUTHORIZATION: Final = "envoy.service.auth.v3.Authorization"
EXT_MCP: Final = "agentgateway.dev.ext_mcp.ExtMcp"


class Method(Protocol):
    """A method of an RPC service, which answers one call at a time, from many threads."""

    def __call__(self, data: bytes, time_remaining: TimeRemaining, proxy: str = ..., /) -> bytes:
        """Return the answer to a message. Never raises.

        ``time_remaining`` gives the seconds that the caller still waits, None for no deadline;
        ``proxy`` is the SPIFFE ID of the caller, "" when its connection has none.
        """


Methods = Mapping[str, Mapping[str, Method]]


def methods_of(service: CheckService) -> Methods:
    """Return the methods that a service answers, by gRPC service and method name."""
    authorization, ext_mcp = Authorization(service), McpGuardrails(service)
    return {
        AUTHORIZATION: {"Check": authorization.check},
        EXT_MCP: {
            "CheckRequest": ext_mcp.check_request,
            "CheckResponse": ext_mcp.check_response,
        },
    }
