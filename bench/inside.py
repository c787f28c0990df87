"""What can be measured without a server: memory, policy scale, raw signatures."""

import gc
import os
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding

from authz.adapters.audit.records.record import AuditOperation, encode_operation
from authz.core.decision import Actor, Agent, Allow, Delegation, Permit
from authz.core.delegation.token_cache import DelegationCache
from authz.core.policy import AgentSettings, PrincipalMatch, PrincipalSettings, RuleSettings
from authz.core.policy.policy import Policy
from authz.core.policy.query import PolicyQuery
from authz.core.request import Operation, Request
from authz.core.routes import Route
from authz.core.spiffe import SpiffeId
from authz.edge.answered import UNREADABLE, Answered
from authz.edge.cache import CacheEntry, DecisionCache
from authz.edge.cache_settings import CacheSettings
from authz.edge.envoy.writer import check_response
from authz.edge.header_settings import HeaderSettings
from authz.edge.rendering import Renderer
from authz.edge.response import Responder
from bench import in_process, shapes, traces
from lab.issuer import make_key
from lab.mesh import ISSUER, TRAVEL

AGENT = Agent(SpiffeId.parse(TRAVEL), "t" * 43, 2e9)


def rss_bytes() -> int:
    """Memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def best_us(call: Callable[[], object], count: int) -> float:
    """The CPU of a call, the median of seven timings, in microseconds."""
    timings = []
    for _ in range(7):
        begun = time.process_time()
        for _ in range(count):
            call()
        timings.append((time.process_time() - begun) / count * 1e6)
    return statistics.median(timings)


def raw_verify_us(algorithm: str) -> float:
    """One signature verification by the library alone."""
    hash_ = hashes.SHA256()
    how = {
        "ES256": (ec.ECDSA(hash_),),
        "RS256": (padding.PKCS1v15(), hash_),
        "PS256": (padding.PSS(padding.MGF1(hash_), hash_.digest_size), hash_),
        "Ed25519": (),
    }[algorithm]
    private: Any = make_key(algorithm)
    data = secrets.token_bytes(500)
    public, signature = private.public_key(), private.sign(data, *how)
    return best_us(lambda: public.verify(signature, data, *how), 500)


def delegation(number: int) -> Delegation:
    """A delegation as a token's verification makes it."""
    return Delegation(
        ISSUER,
        f"user-{number:08}",
        (Actor(ISSUER, TRAVEL),),
        frozenset({"balance:read"}),
        1e9,
        2e9,
        secrets.token_hex(16),
        claims={"iss": ISSUER, "sub": f"user-{number:08}", "groups": ["a", "b"], "jti": "x" * 32},
    )


class _Maker:
    """A step that makes delegations without verifying."""

    generation = 0

    def __init__(self) -> None:
        self.made = 0

    def verify(self, *_: object) -> Delegation:
        """A new one."""
        self.made += 1
        return delegation(self.made)


def _renderer() -> Renderer:
    return Renderer(Responder(HeaderSettings(), ("authorization",), ("ES256",)), "v" * 16)


def _entry(renderer: Renderer, whose: Delegation, path: str) -> CacheEntry:
    allow = Allow(AGENT, whose, Permit("finance-read/0", "finance-read/0"), 2e9)
    operation = AuditOperation("GET", "mcp.corp.example", path, "")
    rendered = renderer.render(allow)
    check_response(Answered(UNREADABLE, rendered, "0" * 32))  # a proxy's bytes are kept with it
    return CacheEntry(rendered, encode_operation(operation), 2e9, 1e9, 0)


def memory_of_decisions(count: int, tokens: int) -> float:
    """Megabytes of so many remembered decisions of so many tokens."""
    renderer, cache = _renderer(), DecisionCache(CacheSettings(entries=2 * count, max_bytes=2**40))
    whose = [delegation(number) for number in range(tokens)]
    headers = [(("authorization", f"Bearer {number:0600}"),) for number in range(tokens)]
    gc.collect()
    before = rss_bytes()
    for number in range(count):
        of, path = number % tokens, f"/finance/accounts/{number}"
        request = Request("GET", "mcp.corp.example", path, headers[of], TRAVEL)
        cache.put(request, _entry(renderer, whose[of], path))
    gc.collect()
    return (rss_bytes() - before) / 1e6


def memory_of_tokens(count: int) -> float:
    """Megabytes of so many remembered tokens."""
    step = _Maker()
    known = DelegationCache(step, step, entries=2 * count, max_bytes=2**40)
    gc.collect()
    before = rss_bytes()
    for number in range(count):
        headers = (("authorization", f"Bearer {number:0600}"),)
        known.verify(Request("", "", "", headers), AGENT, Route(), 1.5e9)
    gc.collect()
    return (rss_bytes() - before) / 1e6


def memory_of_a_day(count: int) -> list[float]:
    """Megabytes after each fifth of so many tokens that are each used once, with our defaults."""
    settings, step, renderer = CacheSettings(), _Maker(), _renderer()
    cache = DecisionCache(settings)
    known = DelegationCache(step, step, entries=settings.tokens, max_bytes=settings.max_bytes)
    sizes = []
    for number in range(count):
        headers = (("authorization", f"Bearer {number:0600}"),)
        request = Request("GET", "mcp.corp.example", "/finance/balance", headers, TRAVEL)
        whose = known.verify(request, AGENT, Route(), 1.5e9)
        cache.put(request, _entry(renderer, whose, "/finance/balance"))
        if (number + 1) % (count // 5) == 0:
            gc.collect()
            sizes.append(rss_bytes() / 1e6)
    return sizes


def policy_row(rules: int) -> tuple[float, float, float]:
    """Of a policy with so many rules: seconds to compile, megabytes, microseconds to match."""
    per_agent = 10
    agents, grants = [], {}
    for number in range(rules // per_agent):
        agent = f"spiffe://corp.example/ns/agents/sa/a{number}"
        agents.append(AgentSettings(id=agent, grants=(f"g{number}",)))
        grants[f"g{number}"] = tuple(
            RuleSettings(
                hosts=("mcp.corp.example",),
                methods=("GET",),
                paths=(f"/s{number}/{at}/**",),
                scopes=(),
            )
            for at in range(per_agent)
        )
    match = PrincipalMatch(issuer=ISSUER)
    everyone = PrincipalSettings(match=match, grants=tuple(grants))
    gc.collect()
    memory, begun = rss_bytes(), time.perf_counter()
    policy = Policy(agents, [everyone], grants)
    seconds = time.perf_counter() - begun
    gc.collect()
    megabytes = (rss_bytes() - memory) / 1e6
    last = len(agents) - 1
    caller = Agent(SpiffeId.parse(agents[last].id))
    operation = Operation("GET", "mcp.corp.example", (f"s{last}", "9", "x"))
    request = Request(operation.method, operation.host, f"/s{last}/9/x")
    case = PolicyQuery(caller, delegation(1), operation, request, 1.5e9)
    return seconds, megabytes, best_us(lambda: policy.evaluate(case).permitted(), 2000)


def report(scale: float) -> list[str]:
    """Everything, as Markdown. Each in a process of its own, or memory would not show."""
    shared = _forked(lambda: [memory_of_decisions(100_000, 1000)])[0]
    alone = _forked(lambda: [memory_of_decisions(100_000, 100_000)])[0]
    tokens = _forked(lambda: [memory_of_tokens(100_000)])[0]
    count = int(5_000_000 * scale)
    sizes = _forked(lambda: memory_of_a_day(count))
    # After the forks: what is freed here would be used again there, and not show.
    lines = ["| rules | compile s | MB | match us |", "|---|---|---|---|"]
    for rules in (10, 1000, 100_000):
        seconds, megabytes, match = policy_row(rules)
        lines.append(f"| {rules} | {seconds:.3f} | {megabytes:.0f} | {match:.1f} |")
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder, checks = Path(name), max(100, int(2000 * scale))
        lines += ["", *in_process.decisions(folder / "decisions", stack, checks)]
        lines += ["", *traces.report(folder / "traces", stack, 10 * checks)]
        lines += ["", *shapes.report(folder, checks // 4)]
    day = ", ".join(f"{size:.0f}" for size in sizes)
    return [
        *lines,
        "",
        f"- 100,000 remembered decisions of 1,000 tokens: {shared:.0f} MB",
        f"- 100,000 remembered decisions of 100,000 tokens: {alone:.0f} MB, without the tokens",
        f"- 100,000 remembered tokens: {tokens:.0f} MB",
        f"- {count:,} tokens used once, default bounds, the process after each fifth: {day} MB",
    ]


def _forked(call: Callable[[], list[float]]) -> list[float]:
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, repr(call()).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        numbers = pipe.read().strip("[]").split(",")
    return [float(number) for number in numbers]
