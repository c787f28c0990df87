"""The HTTP address where security events and logout tokens are posted (RFC 8935, OIDC logout).

The library's server, within limits, is enough: a transmitter posts a token now and then, with one
request on each connection. What it is asked beyond that is refused before anything is parsed.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hmac import compare_digest
from typing import ClassVar, Final
from urllib.parse import parse_qs

import msgspec

from authz.adapters.client_credentials import read_bearer_token
from authz.adapters.fetched import FetchError
from authz.adapters.http_server import (
    NOT_ALLOWED,
    BoundedHttpServer,
    QuietHandler,
    ServerLimits,
    listen,
)
from authz.adapters.listener_certificate import ListenerCertificate
from authz.adapters.signals.intake import Intake, Party, SignalDelayedError
from authz.core.signals.errors import SignalError, SignalFault, SignalUnverifiedError
from authz.core.signals.signed import MAX_TOKEN_BYTES

REQUEST_SECONDS: Final = 15.0  # with TLS, a fetch of keys, and the store
CONNECTIONS: Final = 32  # at once, with a thread each
# A TLS handshake takes a millisecond or two of a core that decides too.
ACCEPTED_A_SECOND: Final = 50.0
RETRY_SECONDS: Final = 5
_MAX_BODY_BYTES: Final = MAX_TOKEN_BYTES + 1024  # a form has a name and a sign more
_LENGTH: Final = re.compile(r"[0-9]{1,7}")
_BEARER: Final = re.compile(r"(?i:bearer) +([A-Za-z0-9._~+/-]+=*)")
_SET_TYPE: Final = "application/secevent+jwt"
_FORM_TYPE: Final = "application/x-www-form-urlencoded"
_LIMITS: Final = ServerLimits("signals", REQUEST_SECONDS, CONNECTIONS, ACCEPTED_A_SECOND)
_log: Final = logging.getLogger("authz.signals")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What a path is for.

    Attributes:
        party: whose signals are posted there.
        token_file: the file of the bearer token, None for logout tokens, which have none.
    """

    party: Party
    token_file: str | None


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: its status, its JSON or nothing, and further headers."""

    status: int
    body: Mapping[str, str] | None = None
    headers: tuple[tuple[str, str], ...] = ()


class SignalReceiver:
    """The HTTP server for signals."""

    def __init__(
        self,
        address: str,
        endpoints: Mapping[str, Endpoint],
        intake: Intake,
        certificate: ListenerCertificate | None,
    ) -> None:
        """Take host:port, what each path is for, and the certificate; ``start`` listens."""
        self.address = address
        self._endpoints = endpoints
        self._intake = intake
        self._certificate = certificate
        self._server: BoundedHttpServer | None = None

    def start(self) -> None:
        """Listen. Raises ListenError."""
        context = None if self._certificate is None else self._certificate.context
        handler = type("Handler", (_Handler,), {"receiver": self})
        server = self._server = listen(self.address, handler, _LIMITS, context)
        self.address = server.address_of(self.address)
        _log.info("receiving signals", extra={"listen": self.address})

    def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def endpoint_of(self, path: str) -> Endpoint | None:
        """Return what a path is for, None if nothing is posted there."""
        return self._endpoints.get(path)

    def answer(self, endpoint: Endpoint, headers: Mapping[str, str], body: bytes) -> Reply:
        """Return the answer to a POST. Never raises."""
        try:
            if endpoint.token_file is None:
                self._intake.take_logout_token(
                    lambda: _logout_token(_posted(_FORM_TYPE, headers, body)), endpoint.party
                )
                return Reply(200, None, _NOT_STORED)
            token_file = endpoint.token_file
            self._intake.take_event_token(
                lambda: _event_token(token_file, headers, body), endpoint.party
            )
        except SignalError as error:
            return _refusal(error.fault, str(error), endpoint)
        except SignalDelayedError:  # whose words are for operators
            return Reply(503, None, (("retry-after", str(RETRY_SECONDS)), *_NOT_STORED))
        return Reply(202)


_NOT_STORED: Final = (("cache-control", "no-store"),)  # OIDC Back-Channel Logout section 2.8


def _event_token(token_file: str, headers: Mapping[str, str], body: bytes) -> str:
    """Return the token of a push with our bearer token (RFC 8935 section 2.3).

    Raises SignalError, SignalUnverifiedError.
    """
    try:
        expected = read_bearer_token(token_file)
    except FetchError as error:
        raise SignalUnverifiedError(str(error)) from None
    shown = _BEARER.fullmatch(headers.get("authorization", ""))
    if shown is None or not compare_digest(shown[1].encode(), expected.encode()):
        raise SignalError(SignalFault.AUTHENTICATION_FAILED, "the bearer token is not ours")
    return _posted(_SET_TYPE, headers, body)


def _posted(kind: str, headers: Mapping[str, str], body: bytes) -> str:
    """Return a body of this type as text. Raises SignalError."""
    if headers.get("content-type", "").partition(";")[0].strip().lower() != kind:
        raise SignalError(SignalFault.INVALID_REQUEST, f"the content-type is not {kind}")
    try:
        return body.decode("ascii")
    except UnicodeDecodeError:
        raise SignalError(SignalFault.INVALID_REQUEST, "the body is not ASCII") from None


def _logout_token(form: str) -> str:
    """Return the token of a form (section 2.5). Raises SignalError."""
    try:
        fields = parse_qs(form, strict_parsing=True, max_num_fields=8)
    except ValueError:
        fields = {}
    tokens = fields.get("logout_token", [])
    if len(tokens) != 1:
        raise SignalError(SignalFault.INVALID_REQUEST, "not a form with one logout_token")
    return tokens[0]


def _refusal(fault: SignalFault, message: str, endpoint: Endpoint) -> Reply:
    """Build a refusal: of an event by RFC 8935 section 2.4, of a logout as OAuth's."""
    if endpoint.token_file is None:
        body = {"error": str(fault), "error_description": message}
        return Reply(400, body, _NOT_STORED)
    headers = (("content-language", "en"),)
    return Reply(400, {"err": str(fault), "description": message}, headers)


def body_length(headers: Mapping[str, str], lengths: list[str]) -> int | Reply:
    """Return the length of a request's body, or the refusal of a request without one.

    Chunked bodies have none: a token's length is known when it is sent.
    """
    if headers.get("transfer-encoding") is not None or not lengths:
        return Reply(411)
    if len(lengths) != 1 or not _LENGTH.fullmatch(lengths[0]):
        return Reply(400)
    length = int(lengths[0])
    return length if length <= _MAX_BODY_BYTES else Reply(413)


class _Handler(QuietHandler):
    """Reads a request and writes the answer; a subclass has the receiver."""

    receiver: ClassVar[SignalReceiver]
    timeout = REQUEST_SECONDS

    def do_POST(self) -> None:  # noqa: N802 - the library's name
        try:
            reply = self._answer()
        except OSError:  # the client has left, or took too long
            return
        except Exception as error:  # noqa: BLE001 - the other side has to try again
            _log.error("can't answer a signal: %s", type(error).__name__)
            reply = Reply(500)
        self._reply(reply)

    def _answer(self) -> Reply:
        endpoint = self.receiver.endpoint_of(self.path)
        if endpoint is None:
            return Reply(404)
        headers = {name.lower(): value for name, value in self.headers.items()}
        length = body_length(headers, self.headers.get_all("content-length", []))
        if isinstance(length, Reply):
            return length
        body = self.rfile.read(length)  # else closing the connection would cut our answer off
        if len(body) < length:
            return Reply(400)
        self.server.answering(self.connection)
        return self.receiver.answer(endpoint, headers, body)

    def refuse(self, status: int) -> None:
        allowed = (("allow", "POST"),) if status == NOT_ALLOWED else ()
        self._reply(Reply(status, None, allowed))

    def _reply(self, reply: Reply) -> None:
        body = b"" if reply.body is None else msgspec.json.encode(reply.body)
        self.send_response(reply.status)
        if body:
            self.send_header("content-type", "application/json")
        for name, value in reply.headers:
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
