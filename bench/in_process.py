"""What a check costs in the process alone, bytes in and bytes out, without any transport."""

import itertools
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

from authz.config import Config, load_text
from authz.edge.methods import AUTHORIZATION, answer, methods_of
from authz.wiring.parts import open_parts
from bench.messages import Maker, Messages
from bench.servers import CHANGES
from lab.ca import Authority
from lab.issuer import Issuer, JwksServer
from lab.mesh import AUDIENCE, CONFIG, ISSUER, TRAVEL

ALLOWED: Final = b"x-agent-decision-id"
FETCH_SECONDS: Final = 10.0
ROUNDS: Final = 7
WARM: Final = 200

Change = Callable[[Config], Config]


class Core:
    """The server's parts in this process, with a config that may be changed."""

    def __init__(
        self, folder: Path, stack: ExitStack, change: Change = lambda config: config
    ) -> None:
        """Start them. Raises TimeoutError if the issuer's keys can't be fetched."""
        folder.mkdir(exist_ok=True)
        self.issuer = Issuer(ISSUER, AUDIENCE)
        self.messages = Messages(Authority(folder / "pki").issue(TRAVEL), self.issuer)
        jwks = stack.enter_context(closing(JwksServer(self.issuer)))
        text = CONFIG.format(
            socket="/nowhere/authz.sock",
            admin_port=0,
            drain="1s",
            jwks_uri=f"{jwks.url}/jwks",
            audit=folder / "audit.jsonl",
        )
        config = change(load_text(CHANGES.edit(text).encode(), "bench.yaml"))
        parts = stack.enter_context(open_parts(config))
        parts.start()
        self.service = parts.service
        self._check = methods_of(parts.service)[AUTHORIZATION]["Check"]
        end = time.monotonic() + FETCH_SECONDS
        while not all(source.successes for source in parts.keys.status()):
            if time.monotonic() > end:
                raise TimeoutError("the issuer's keys did not come")
            time.sleep(0.01)

    def ask(self, message: bytes) -> bytes:
        """Return the answer to a message. Raises ValueError if it is not an allow."""
        answered = answer(self._check, message, lambda: None)
        if ALLOWED not in answered:
            raise ValueError(f"not allowed: {answered!r}")
        return answered

    def cpu_us(self, make: Maker, count: int) -> float:
        """Return the CPU of a check in microseconds, other threads of the process included."""
        messages = [make() for _ in range(count)]
        begun = time.process_time()
        for message in messages:
            self.ask(message)
        return (time.process_time() - begun) / count * 1e6


def compare(makers: dict[str, tuple[Core, Maker]], count: int) -> dict[str, float]:
    """Return the CPU of a check of each kind: medians of interleaved rounds."""
    samples: dict[str, list[float]] = {name: [] for name in makers}
    for core, make in makers.values():
        core.cpu_us(make, min(count, WARM))
    for _, (name, (core, make)) in itertools.product(range(ROUNDS), makers.items()):
        samples[name].append(core.cpu_us(make, count))
    return {name: statistics.median(values) for name, values in samples.items()}


def decisions(folder: Path, stack: ExitStack, count: int) -> list[str]:
    """Return what each kind of check costs, and the bar of issue 15 for a new path."""
    core = Core(folder, stack)
    messages = core.messages
    found = compare(
        {
            "remembered": (core, messages.remembered()),
            "raw headers": (core, messages.remembered(raw=True)),
            "new path": (core, messages.new_paths()),
            "MCP call": (core, messages.calls()),
            "new token, ES256": (core, messages.new_tokens(core.issuer)),
        },
        count,
    )
    lines = ["| in the process | CPU, us | of a remembered one |", "|---|---|---|"]
    for name, value in found.items():
        lines.append(f"| {name} | {value:.1f} | {value / found['remembered']:.2f} |")
    ratio = found["new path"] / found["remembered"]
    return [
        *lines,
        "",
        f"New path / remembered in the process: {ratio:.2f}, at most 3.75 (45 / 12).",
    ]
