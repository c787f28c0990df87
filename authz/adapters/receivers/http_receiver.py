"""Posts to a receiver over a kept connection, with its credentials, and reads the answers.

A body is posted without compression: receivers differ in what they can unpack, and the work would
be this process's. Redirects are not followed.
"""

import email.utils
import http.client
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

import urllib3
from urllib3.connection import HTTPConnection

from authz.adapters.client_credentials import read_bearer_token
from authz.adapters.http_connection import (
    HTTP_FAULTS,
    HttpServer,
    connected,
    cut_at,
    told_fault,
)
from authz.adapters.receiver_settings import ReceiverTlsSettings
from authz.adapters.receivers.receiver import (
    MAX_ANSWER_BYTES,
    MAX_RETRY_AFTER_SECONDS,
    ReceiverError,
    ReceiverTls,
)
from authz.core.urls import is_plaintext

# A connection is left after this time, so that a changed address, token or certificate counts.
CONNECTION_SECONDS: Final = 300.0
_CHUNK_BYTES: Final = 16 * 1024
_DELAY_DIGITS: Final = 9
_UNAUTHORIZED: Final = 401
_HEADERS: Final = {"accept-encoding": "identity", "user-agent": "agent-authz"}


@dataclass(frozen=True, slots=True)
class PostTarget:
    """Where to post, and with what.

    Attributes:
        url: its URL; the settings have checked it.
        headers: of each request; of two names that differ in case alone, the later one.
        token_file: has a bearer token, read anew for each connection.
        tls: the CAs to trust, and our certificate.
    """

    url: str
    headers: Mapping[str, str]
    token_file: str | None
    tls: ReceiverTlsSettings


@dataclass(frozen=True, slots=True)
class Answer:
    """A receiver's answer.

    Attributes:
        status: its status.
        retry_after_seconds: for how long it asks to be left alone, 0 if it names no time.
        body: its body, empty if not all of it came, or more than MAX_ANSWER_BYTES.
    """

    status: int
    retry_after_seconds: float
    body: bytes = field(default=b"", repr=False)  # it may repeat records


class HttpReceiver:
    """A receiver, and the connection to it. One thread uses it."""

    def __init__(self, target: PostTarget) -> None:
        """Take URL and credentials; ``post`` connects."""
        self._parts = parts = urlsplit(target.url)
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._tls = None if is_plaintext(target.url) else ReceiverTls(target.tls)
        self._token_file = target.token_file
        further = {name.lower(): value for name, value in target.headers.items()}
        self._fixed = {**_HEADERS, **further, "host": parts.netloc}
        self._headers = self._fixed  # with the connection's token
        self._connection: HTTPConnection | None = None
        self._leave_at = 0.0

    def post(self, body: bytes, timeout_seconds: float) -> Answer:
        """Post a batch; return the answer, whatever its status. Raises ReceiverError.

        Ends within the timeout. A kept connection may have ended in the meantime, or its
        token may have expired: then a fresh one is tried too.
        """
        deadline = time.monotonic() + timeout_seconds
        try:
            answer = self._posted_on_kept(body, deadline)
            if answer is not None:
                return answer
            return self._posted(self._connected(deadline), body, deadline)
        except HTTP_FAULTS as error:
            self.close()
            raise _receiver_error(error, deadline) from None

    def _posted_on_kept(self, body: bytes, deadline: float) -> Answer | None:
        """Return the answer on the kept connection; None if a fresh one is to be tried."""
        if time.monotonic() >= self._leave_at:
            self.close()
        if self._connection is None:
            return None
        with suppress(*HTTP_FAULTS):
            answer = self._posted(self._connection, body, deadline)
            if answer.status != _UNAUTHORIZED:
                return answer
        self.close()
        if time.monotonic() >= deadline:
            raise TimeoutError
        return None

    def _connected(self, deadline: float) -> HTTPConnection:
        """Connect, with the credentials as their files are now. Raises HTTP_FAULTS."""
        context = None if self._tls is None else self._tls.context()
        self._headers = self._fixed
        if self._token_file is not None:
            token = read_bearer_token(self._token_file)
            self._headers = {**self._fixed, "authorization": f"Bearer {token}"}
        self._leave_at = time.monotonic() + CONNECTION_SECONDS
        self._connection = connected(HttpServer(self._parts, context), deadline)
        return self._connection

    def _posted(self, connection: HTTPConnection, body: bytes, deadline: float) -> Answer:
        """Post on the connection, which stays only if it can take the next batch."""
        with cut_at(deadline, connection):
            self._send(connection, body)
            with closing(connection.getresponse()) as response:
                delay = _retry_after(response.headers.get("retry-after"))
                body, is_over = _read(response)
        answer = Answer(response.status, delay, body)
        if not is_over or connection.sock is None or time.monotonic() >= deadline:
            self.close()
        return answer

    def _send(self, connection: HTTPConnection, body: bytes) -> None:
        try:
            connection.request(
                "POST",
                self._target,
                body=body,
                headers=self._headers,
                preload_content=False,
                decode_content=False,
            )
        except (BrokenPipeError, ConnectionResetError):
            # A receiver that finds a batch too large may answer, and not read on. http.client takes
            # an answer only of a request that was sent.
            if connection.sock is None:
                raise

    def close(self) -> None:
        """Close the connection; the next batch opens one."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None


def _receiver_error(error: Exception, deadline: float) -> ReceiverError:
    return (
        error
        if isinstance(error, ReceiverError)
        else ReceiverError(str(told_fault(error, deadline)))
    )


def _read(response: urllib3.BaseHTTPResponse) -> tuple[bytes, bool]:
    """Return the answer's body, and whether all of it came and was read."""
    body = bytearray()
    try:
        while chunk := response.read1(_CHUNK_BYTES):
            body += chunk
            if len(body) > MAX_ANSWER_BYTES:
                return b"", False
    except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError):
        return b"", False  # the status stands, and has come
    return bytes(body), True


def _retry_after(text: str | None) -> float:
    """Return the seconds of Retry-After (RFC 9110 section 10.2.3), 0 if there is none to obey."""
    text = (text or "").strip()
    if text.isascii() and text.isdecimal():
        return min(float(text[:_DELAY_DIGITS]), MAX_RETRY_AFTER_SECONDS)
    try:
        at = email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return 0.0
    return min(max(0.0, at - time.time()), MAX_RETRY_AFTER_SECONDS)
