"""``python -m bench.conditions``: what a condition costs, and how CEL libraries compare.

Our wrapper is measured against the library beneath it, and against others where they are installed:
in an environment of their own, since the import name of one, ``cel``, is also that of xds-protos.
Compare within one run only.
"""

import argparse
import importlib
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROUNDS = 7
PAGE_BYTES = 4096
CONDITION = (
    'agent_trust_domain == "corp.example" && "orders.write" in delegation_scopes'
    ' && request_method in ["POST", "PUT"] && request_path.startsWith("/orders/")'
    ' && claims.groups.exists(g, g == "buyers")'
)
CLAIMS = {
    "iss": "https://idp.corp.example",
    "sub": "alice",
    "aud": ["https://orders.corp.example"],
    "exp": 1,
    "iat": 2,
    "jti": "x" * 22,
    "client_id": "buyer",
    "scope": "orders.read orders.write",
    "groups": ["staff", "buyers"],
    "act": {"sub": "spiffe://corp.example/ns/agents/sa/buyer"},
}
FACTS = {
    "agent_trust_domain": "corp.example",
    "delegation_scopes": ["orders.read", "orders.write"],
    "request_method": "POST",
    "request_path": "/orders/17/items",
    "claims": CLAIMS,
}


def ours() -> Callable[[], object]:
    """Our wrapper, with facts made anew each time as a decision does."""
    from authz.core.conditions import Condition  # noqa: PLC0415 - measured, import included
    from authz.core.conditions.facts import Facts  # noqa: PLC0415 - measured, import included
    from authz.core.decision import Agent, Delegation  # noqa: PLC0415 - likewise
    from authz.core.request import Operation, Request  # noqa: PLC0415 - likewise
    from authz.core.spiffe import SpiffeId  # noqa: PLC0415 - likewise

    text = CONDITION
    for name in FACTS:
        text = text.replace(name, name.replace("_", ".", 1).replace("trust.", "trust_"))
    condition = Condition.parse(text)
    request = Request("POST", "orders.corp.example", "/orders/17/items")
    operation = Operation.of(request)
    agent = Agent(SpiffeId.parse("spiffe://corp.example/ns/agents/sa/buyer"))
    scopes = frozenset({"orders.read", "orders.write"})
    delegation = Delegation("https://idp.corp.example", "alice", (), scopes, 2, 1, claims=CLAIMS)
    return lambda: condition.holds(Facts(agent, delegation, operation, request))


def cel_expr_python() -> Callable[[], object]:
    """Google's, a wrapper of the C++ implementation."""
    cel = importlib.import_module("cel_expr_python.cel")
    kind = cel.Type
    types = {
        "agent_trust_domain": kind.STRING,
        "delegation_scopes": kind.List(kind.STRING),
        "request_method": kind.STRING,
        "request_path": kind.STRING,
        "claims": kind.Map(kind.STRING, kind.DYN),
    }
    program = cel.NewEnv(variables=types).compile(CONDITION)
    return lambda: program.eval(data=FACTS).value()


def common_expression_language() -> Callable[[], object]:
    """A wrapper of the Rust implementation."""
    cel: Any = importlib.import_module("cel")
    program = cel.compile(CONDITION)
    return lambda: program.execute(FACTS)


def cel_python() -> Callable[[], object]:
    """In Python."""
    celpy: Any = importlib.import_module("celpy")
    environment = celpy.Environment()
    program = environment.program(environment.compile(CONDITION))
    return lambda: bool(
        program.evaluate({name: celpy.json_to_cel(value) for name, value in FACTS.items()})
    )


def microseconds(ask: Callable[[], object], times: int) -> float:
    """CPU of one evaluation, the median of rounds."""
    rounds: list[float] = []
    for _ in range(ROUNDS):
        begun = time.process_time()
        for _ in range(times):
            ask()
        rounds.append((time.process_time() - begun) / times * 1e6)
    return statistics.median(rounds)


def in_threads(ask: Callable[[], object], times: int) -> float:
    """Time of one evaluation, in microseconds, with four threads asking."""

    def work() -> None:
        for _ in range(times):
            ask()

    threads = [threading.Thread(target=work) for _ in range(4)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (time.perf_counter() - begun) / times / 4 * 1e6


def resident_mb() -> float:
    """Memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * PAGE_BYTES / 2**20


def main() -> None:
    """Measure one."""
    parser = argparse.ArgumentParser(description=__doc__)
    candidates = [ours, cel_expr_python, common_expression_language, cel_python]
    parser.add_argument("name", choices=[one.__name__ for one in candidates])
    parser.add_argument("--times", type=int, default=5000, help="evaluations a round")
    arguments = parser.parse_args()
    before = resident_mb()
    ask = next(one for one in candidates if one.__name__ == arguments.name)()
    assert ask() is True
    added = resident_mb() - before
    alone = microseconds(ask, arguments.times)
    print(f"{arguments.name}: {alone:.1f} us", end=", ")
    print(f"four threads {in_threads(ask, arguments.times):.1f} us, {added:.0f} MB")


if __name__ == "__main__":
    main()
