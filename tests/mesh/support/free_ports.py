"""Finds ports of loopback for programs that can't choose one and tell it."""

import socket
from contextlib import ExitStack


def free_ports(count: int) -> list[int]:
    """Return so many different TCP ports of 127.0.0.1 that nobody listens on now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
