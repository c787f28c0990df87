"""Reads the requests of the token service, and answers them: HTTP/1.1 by aiohttp.

A token request goes through these steps, each cheaper than the next: the path, the method and the
headers, whether there is a certificate, the body, whose certificate it is, and the agent's share of
the service. Only then are the form and its tokens read, in a thread of a bounded pool, as
certificates are: the loop's thread never waits, and verifies nothing but handshakes.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Protocol

from aiohttp import web

from authz.adapters.sts import reply as replies
from authz.adapters.sts.connections import Connection, KnownClient
from authz.adapters.sts.in_thread import Submit, run_in_thread
from authz.adapters.sts.limits import (
    ANSWER_SECONDS,
    IDLE_SECONDS,
    MAX_BODY_BYTES,
    REQUEST_SECONDS,
)
from authz.adapters.sts.reply import Reply
from authz.adapters.sts.shares import FullError, Shares, TooFastError
from authz.adapters.tls_peer import peer_certificates
from authz.core.decision import Agent
from authz.core.reason import Denied, Reason

FORM: Final = "application/x-www-form-urlencoded"
# Verifiers keep the keys for minutes: a key is published long before it signs.
_DOCUMENT_SECONDS: Final = 300
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_NOBODY: Final = ""  # in whose share clients are refused; no agent's name
_log: Final = logging.getLogger("authz.sts")


class TokenEndpoint(Protocol):
    """Decides token requests. Threads of the pool call its methods, which never raise."""

    def answer(self, form: bytes, proof: str | None, agent: Agent) -> Reply:
        """Return the answer to a form of an agent, and to the DPoP proof beside it, if any."""

    def refuse_client(self, denied: Denied) -> Reply:
        """Return the answer to a client whose certificate is refused, or can't be checked."""


class ClientCheck(Protocol):
    """Tells which agent a connection's certificates prove."""

    @property
    def trust(self) -> object:
        """The CAs that are trusted now: another object if anything changed."""

    def __call__(self, pems: tuple[bytes, ...]) -> KnownClient:
        """Return the agent of a certificate and its chain, in PEM. Raises Denied."""


@dataclass(frozen=True, slots=True)
class Pages:
    """What the server serves.

    Attributes:
        token: the path of the token endpoint.
        documents: by path, what returns a JSON document that anybody may read.
    """

    token: str
    documents: Mapping[str, Callable[[], bytes]]


class QuietProtocol(web.RequestHandler):
    """A connection of aiohttp that repeats nothing of a request, to the client or the log."""

    __slots__ = ("connection",)

    def __init__(self, server: web.Server, connection: Connection, **limits: float) -> None:
        """Belong to a connection."""
        self.connection = connection
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type] # None is "off", by its own documentation
            auto_decompress=False,
            **limits,  # type: ignore[arg-type] # numbers, each by its name
        )

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer a request that can't be parsed, or that failed, in our words."""
        del request, message
        own = status >= replies.INTERNAL.status
        if own and not isinstance(exc, ConnectionError):  # the client may leave within its body
            _log.error("can't answer a request: %s", type(exc).__name__)
        response = response_of(replies.INTERNAL if own else replies.MALFORMED)
        response.force_close()
        return response

    def log_exception(self, *_: object, **__: object) -> None:
        """Log nothing of aiohttp's: its texts quote the request."""


class TokenRequests:
    """Answers requests; a server has one. In the loop's thread."""

    def __init__(
        self, pages: Pages, endpoint: TokenEndpoint, check: ClientCheck, submit: Submit
    ) -> None:
        """Take what is served, what decides, what tells clients, and the threads for both."""
        self._pages = pages
        self._endpoint = endpoint
        self._check = check
        self._submit = submit
        self.shares = Shares()
        self.statuses: dict[int, int] = {}  # answers so far, by status

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Return the answer to a request whose headers have come."""
        protocol = request.protocol
        assert isinstance(protocol, QuietProtocol)  # noqa: S101 - our own factory made it
        connection = protocol.connection
        connection.end = time.monotonic() + REQUEST_SECONDS
        try:
            reply = await self._reply(request, connection)
        finally:
            connection.is_answering = False
            connection.end = time.monotonic() + IDLE_SECONDS
        self.statuses[reply.status] = self.statuses.get(reply.status, 0) + 1
        response = response_of(reply)
        if reply.status == replies.BAD_CERTIFICATE.status:
            response.force_close()  # its certificate stays what it is; another needs a handshake
        if not request.can_read_body:
            return response
        if not request.content.is_eof():
            response.force_close()  # what is left of the body is not for us
        return response

    async def _reply(self, request: web.BaseRequest, connection: Connection) -> Reply:
        path, mark, _ = request.raw_path.partition("?")
        if path == self._pages.token:
            return await self._token(request, connection, has_query=bool(mark))
        make = self._pages.documents.get(path)
        if make is None:
            return replies.NOT_FOUND
        if request.method not in {"GET", "HEAD"}:
            return replies.NOT_GOT
        return _document(make(), request)

    async def _token(  # noqa: PLR0911 - a return for each refusal, in their order
        self, request: web.BaseRequest, connection: Connection, *, has_query: bool
    ) -> Reply:
        refused = _by_head(request, has_query=has_query)
        if refused is not None:
            return refused
        known = self._remembered(connection)
        pems = _certificates(request) if known is None else ()
        if known is None and not pems:
            return replies.NO_CERTIFICATE
        form = await _body(request)
        if form is None:
            return replies.TOO_LARGE
        connection.is_answering = True
        connection.end = time.monotonic() + ANSWER_SECONDS
        try:
            known = known or await self._learned(connection, pems)
            with self.shares.request(connection.agent, time.monotonic()):
                proof = request.headers.get("dpop")
                return await run_in_thread(
                    self._submit, self._endpoint.answer, form, proof, known.agent
                )
        except Denied as denied:
            return await self._refused(denied, replies.BAD_CERTIFICATE)
        except TooFastError:
            return replies.TOO_FAST
        except FullError:
            return replies.OVERLOADED
        except Exception as error:  # noqa: BLE001 - a fault is never a token, and on record too
            _log.error("can't check a client: %s", type(error).__name__)
            fault = Denied(Reason.INTERNAL_ERROR, replies.SEE_LOG)
            return await self._refused(fault, replies.INTERNAL)

    def _remembered(self, connection: Connection) -> KnownClient | None:
        """Return who the client of a connection is, None if its certificate is to be verified."""
        known = connection.known
        if known is None or known.trust is not self._check.trust:
            return None
        return known if known.since <= time.time() < known.until else None

    async def _learned(self, connection: Connection, pems: tuple[bytes, ...]) -> KnownClient:
        """Verify the certificate of a connection. Raises Denied."""
        known = connection.known = await run_in_thread(self._submit, self._check, pems)
        connection.agent = known.agent.spiffe_id.text
        return known

    async def _refused(self, denied: Denied, unrecorded: Reply) -> Reply:
        """Refuse a client that is not known, on record as long as all such have a share left."""
        try:
            with self.shares.request(_NOBODY, time.monotonic()):
                return await run_in_thread(self._submit, self._endpoint.refuse_client, denied)
        except (TooFastError, FullError):  # a flood must not fill the audit log
            return unrecorded


def _by_head(  # noqa: PLR0911 - a return for each refusal, in their order
    request: web.BaseRequest, *, has_query: bool
) -> Reply | None:
    """Return the refusal of a token request by its head alone, None if its body is to be read."""
    headers = request.headers
    if request.method != "POST":
        return replies.NOT_POSTED
    if has_query:
        return replies.IN_THE_QUERY
    if "authorization" in headers:
        return replies.other_authentication(headers["authorization"].partition(" ")[0])
    kinds = headers.getall("content-type", [])
    if len(kinds) != 1 or kinds[0].partition(";")[0].strip().lower() != FORM:
        return replies.NOT_A_FORM
    if headers.get("content-encoding", "identity").lower() != "identity":
        return replies.ENCODED
    if len(headers.getall("dpop", [])) > 1:
        return replies.error_reply(
            400, "invalid_dpop_proof", "more than one DPoP header"
        )  # RFC 9449 section 4.3, check 1
    length = request.content_length
    return replies.TOO_LARGE if length is not None and length > MAX_BODY_BYTES else None


def _certificates(request: web.BaseRequest) -> tuple[bytes, ...]:
    """Return the certificates that the client sent, its own first, in PEM."""
    tls = None if request.transport is None else request.transport.get_extra_info("ssl_object")
    return () if tls is None else peer_certificates(tls)


async def _body(request: web.BaseRequest) -> bytes | None:
    """Return the body, None for one that is too large. How long it may take is its connection's."""
    if request.headers.get("expect", "").lower() == "100-continue":
        await request.writer.write(_CONTINUE)
        request.writer.output_size = 0
    parts = bytearray()
    while part := await request.content.readany():
        parts += part
        if len(parts) > MAX_BODY_BYTES:
            return None
    return bytes(parts)


def _document(body: bytes, request: web.BaseRequest) -> Reply:
    """Return a document, or that the client has it (RFC 9110 section 13.1.2)."""
    etag = f'"{sha256(body).hexdigest()[:32]}"'
    headers = (("cache-control", f"public, max-age={_DOCUMENT_SECONDS}"), ("etag", etag))
    if etag in request.headers.get("if-none-match", ""):
        return Reply(304, headers=headers)
    return Reply(200, body, headers)


def response_of(reply: Reply) -> web.Response:
    """Return an answer in aiohttp's form."""
    response = web.Response(
        status=reply.status, body=reply.body or None, headers=dict(reply.headers)
    )
    response.headers["server"] = "agent-authz"  # in place of the versions of all libraries
    response.headers["x-content-type-options"] = "nosniff"
    if reply.body:
        response.headers["content-type"] = reply.content_type
    return response
