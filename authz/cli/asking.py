"""Asks a running server's admin address, without loading a library for HTTP.

Containers run ``authz health`` every few seconds. So the answer is read from a socket: loading a
library takes longer than everything else that it does. It uses no proxies and follows no redirects.
"""

import re
import socket
import time
from typing import Final

OK: Final = b"200"
ASK_SECONDS: Final = 2.0
MAX_ANSWER_BYTES: Final = 1024 * 1024  # some 100 bytes a check, and each issuer has a check
_READ_BYTES: Final = 16 * 1024
_ANSWER: Final = re.compile(rb"HTTP/1\.[01] ([0-9]{3})[ \r\n].*?\r?\n\r?\n(.*)", re.DOTALL)


def ask(address: str, path: str, seconds: float = ASK_SECONDS) -> tuple[bytes, bytes]:
    """Return status and body of a GET, which ends after ``seconds``. Raises OSError, ValueError."""
    end = time.monotonic() + seconds
    with socket.create_connection(_host_and_port(address), seconds) as connection:
        connection.sendall(f"GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n".encode())
        answer = _ANSWER.match(_read(connection, end))
    if answer is None:
        raise ValueError("the answer is not HTTP")
    return answer[1], answer[2]


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not re.fullmatch("[0-9]{1,5}", port) or re.search(r"[\s/]", address):
        raise ValueError("the address is not host:port, such as 127.0.0.1:9192")
    return host.strip("[]"), int(port)


def _read(connection: socket.socket, end: float) -> bytes:
    """Read until the server closes, until ``end`` (monotonic). Raises OSError, ValueError."""
    data = b""
    while (left := end - time.monotonic()) > 0:
        connection.settimeout(left)
        piece = connection.recv(_READ_BYTES)
        if not piece:
            return data
        data += piece
        if len(data) > MAX_ANSWER_BYTES:
            raise ValueError(f"the answer is longer than {MAX_ANSWER_BYTES} bytes")
    raise TimeoutError("timed out")
