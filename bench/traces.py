"""What traces cost a remembered check: the same server with and without its tracer, in turns."""

import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from authz.adapters.receiver_settings import OtlpSettings
from authz.adapters.tracing import TracesSettings
from authz.config import Config
from bench.in_process import Change, Core

SHARE: Final = 0.01
BAR: Final = 0.03
BLOCK: Final = 200  # checks: short, so that a neighbour disturbs both alike
TESTS: Final = Path(__file__).parents[1] / "tests"


def report(folder: Path, stack: ExitStack, count: int) -> list[str]:
    """Return the thread's CPU of a remembered check, and what 1 % of sampled spans adds."""
    core = Core(folder, stack, _traced(stack.enter_context(_collector())))
    make = core.messages.remembered()
    core.cpu_us(make, BLOCK)
    service = core.service
    tracer = service._tracer  # noqa: SLF001 - no config switches it in a running server
    samples: dict[bool, list[float]] = {False: [], True: []}
    for _, is_on in itertools.product(range(max(10, count // BLOCK)), samples):
        service._tracer = tracer if is_on else None  # noqa: SLF001 - likewise
        samples[is_on].append(_thread_us(core, [make() for _ in range(BLOCK)]))
    added = statistics.median(on - off for off, on in zip(*samples.values(), strict=True))
    without = statistics.median(samples[False])
    line = (
        f"Remembered, in its thread: {without:.1f} us; with {SHARE:.0%} of them traced "
        f"{added / without:+.1%}, at most {BAR:.0%}."
    )
    return [line]


def _thread_us(core: Core, messages: list[bytes]) -> float:
    begun = time.thread_time()
    for message in messages:
        core.ask(message)
    return (time.thread_time() - begun) / len(messages) * 1e6


@contextmanager
def _collector() -> Iterator[str]:
    """Run a collector in a process of its own, whose CPU does not count."""
    command = [sys.executable, "-m", "support.otlp_receiver"]
    environment = {"PYTHONPATH": f"{TESTS.parent}:{TESTS}"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        yield f"http://127.0.0.1:{child.stdout.readline().split()[0]}"
        child.stdin.close()


def _traced(endpoint: str) -> Change:
    otlp = OtlpSettings(endpoint=endpoint, insecure=True)
    section = TracesSettings(otlp=otlp, sampled=SHARE)

    def change(config: Config) -> Config:
        return config.model_copy(update={"traces": section})

    return change
