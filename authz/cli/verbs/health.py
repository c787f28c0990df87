"""``authz health``: asks a running server whether it is ready.

Containers run it every few seconds. So it reads the answer from a socket: loading a library for
HTTP takes longer than everything else that it does. It uses no proxies and follows no redirects.
"""

import argparse
import re
import socket
import time
from typing import Final

from authz.cli.common import FAILED, FINE, complain

HEALTH_SECONDS: Final = 2.0
MAX_ANSWER_BYTES: Final = 1024 * 1024  # some 100 bytes a check, and each issuer has a check
_READ_BYTES: Final = 16 * 1024
_ANSWER: Final = re.compile(rb"HTTP/1\.[01] ([0-9]{3})[ \r\n].*?\r?\n\r?\n(.*)", re.DOTALL)
_READY: Final = b"200"


def run(options: argparse.Namespace) -> int:
    """Print the server's status, and return the exit status."""
    try:
        status, body = _ask(options.address)
    except (OSError, ValueError) as error:
        complain(f"authz: http://{options.address}/readyz: {error}")
        return FAILED
    text = body.decode("utf-8", "replace").strip()
    print("".join(c if c.isprintable() else "?" for c in text))  # perhaps another program answered
    return FINE if status == _READY else FAILED


def _ask(address: str) -> tuple[bytes, bytes]:
    """Return status and body of the answer. Raises OSError, ValueError, with words for it."""
    end = time.monotonic() + HEALTH_SECONDS
    with socket.create_connection(_host_and_port(address), HEALTH_SECONDS) as connection:
        connection.sendall(f"GET /readyz HTTP/1.0\r\nHost: {address}\r\n\r\n".encode())
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
