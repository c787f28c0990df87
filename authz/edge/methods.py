"""The RPC methods that are answered, by service: bytes and a deadline in, bytes out.

A transport serves these, whatever it is made of. A further dialect is a folder here, and a row.
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
    """Answers one call of a method."""

    def __call__(self, data: bytes, time_remaining: TimeRemaining, proxy: str = ..., /) -> bytes:
        """Return the answer to a message. Never raises.

        ``time_remaining`` gives the seconds that the caller still waits, None for no deadline;
        ``proxy`` is the SPIFFE ID of the caller, "" when its connection has none.
        """


Methods = Mapping[str, Mapping[str, Method]]


def methods_of(service: CheckService) -> Methods:
    """Return what is answered for a service, by the names of gRPC services and of their methods."""
    authorization, ext_mcp = Authorization(service), McpGuardrails(service)
    return {
        AUTHORIZATION: {"Check": authorization.check},
        EXT_MCP: {
            "CheckRequest": ext_mcp.check_request,
            "CheckResponse": ext_mcp.check_response,
        },
    }
