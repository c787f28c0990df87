"""What a CheckRequest holds of a message, given to the protocol of its route."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from authz._pb import ext_authz_pb2 as pb
from authz.core import protocols
from authz.core.request import Call
from authz.core.routes import PROFILE, ROUTE, Route, Routes

MAX_REQUEST_BYTES: Final = "authz_max_request_bytes"  # the context extension with that limit
_NUMBER: Final = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True, slots=True)
class Messages:
    """How the messages of requests are read.

    Attributes:
        routes: say in which protocol a request's message is.
        mcp_metadata: the namespace of a proxy's MCP filter, by the profile that the route names and
            the proxy's SPIFFE ID; None where it is not trusted.
        reads_arguments: whether decisions read the arguments of a call.
    """

    routes: Routes
    mcp_metadata: Callable[[str, str], str | None] = lambda *_: None
    reads_arguments: Callable[[Call], bool] = lambda _: False

    def route_of(self, host: str, path: str, extensions: Mapping[str, str]) -> Route | None:
        """The request's route, if messages are read on it."""
        route = self.routes.of_raw(extensions.get(ROUTE, ""), host, path)
        return route if route.protocol else None

    def read(
        self,
        route: Route,
        attributes: pb.AttributeContext,
        headers: Mapping[str, str],
        extensions: Mapping[str, str],
        proxy: str,
    ) -> protocols.Message:
        """The message, understood or not. Never raises."""
        http = attributes.request.http
        namespace = self.mcp_metadata(extensions.get(PROFILE, ""), proxy)
        metadata = attributes.metadata_context.filter_metadata
        path, _, query = http.path.partition("?")
        sent = protocols.Sent(
            http.method,
            path,
            headers,
            http.raw_body or http.body.encode(),
            is_text=not http.raw_body,
            size=http.size,
            max_bytes=_limit(extensions.get(MAX_REQUEST_BYTES, "")),
            metadata=metadata[namespace] if namespace and namespace in metadata else None,
            trusts_headers=route.trusts_headers,
            reads_arguments=self.reads_arguments,
            query=query,
            extra_members=route.extra_members,
        )
        return protocols.read(route.protocol, sent)


def _limit(text: str) -> int | None:
    """The proxy's limit of bodies, None when it names none; what is no number fits no body."""
    if not text:
        return None
    return int(text) if _NUMBER.fullmatch(text) else 0
