"""Requests of an agent that never pause, and what becomes of them."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from lab.client import Client
from support.world import BALANCE

Answers = Counter[tuple[int, str, bytes]]
"""How often each status came, with the reason of a refusal and its body; an allow has neither."""


@contextmanager
def under_load(client: Client, token: str, threads: int = 2) -> Iterator[Answers]:
    """Ask for the balance from so many threads, and count the answers."""
    answers: Answers = Counter()
    is_over = threading.Event()

    def ask() -> None:
        while not is_over.is_set():
            reply = client.get(BALANCE, token)
            answers[reply.status, reply.reason, b"" if reply.status == 200 else reply.body] += 1

    asking = [threading.Thread(target=ask) for _ in range(threads)]
    for thread in asking:
        thread.start()
    try:
        yield answers
    finally:
        is_over.set()
        for thread in asking:
            thread.join()
