"""A company's requests, by the thousand, to a real server: each answer is what the docs say.

What the docs say comes from ``docs_model``, which reads nothing of the product. For a longer run by
hand set AUTHZ_COMPANY_REQUESTS, and AUTHZ_COMPANY_SEED for other requests of another company.
"""

import json
import os
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import grpc
import pytest

from authz._pb import ext_authz_pb2 as pb
from authz.cli import main
from lab.processes import Process
from support.canary import canary
from support.company.config import company_config, write_config
from support.company.near import near_miss
from support.company.requests import Requests
from support.company.wire import Wire
from support.docs_model import Asked, Config, Verdict, decide
from support.docs_model.budgets import Purse
from support.docs_model.decide import find_route
from support.docs_model.paths import host_of, read_path
from support.status_server import StatusServer

SEED: Final = int(os.environ.get("AUTHZ_COMPANY_SEED", "20261125"))
REQUESTS: Final = int(os.environ.get("AUTHZ_COMPANY_REQUESTS", "2000"))
NEAR: Final = 0.45  # the share of near misses
AGAIN: Final = 0.15  # the share that is asked twice
CHECK: Final = "/envoy.service.auth.v3.Authorization/Check"
REASONS: Final = Path(__file__).parents[2] / "docs" / "reference" / "reasons.md"
STATUSES: Final = {
    reason: int(status)
    for reason, status in re.findall(
        r"^\| .*`(\w+)`(?:</a>)? \| (\d+) \|", REASONS.read_text(), re.MULTILINE
    )
}


@dataclass(frozen=True)
class Answer:
    """What the server said of a request; reason "" for an allow."""

    reason: str
    status: int
    headers: dict[str, str]
    removed: frozenset[str] = frozenset()
    is_remembered: bool = field(default=False, compare=False)


def answer_of(response: pb.CheckResponse) -> Answer:
    """The answer, without what differs between two of the same."""
    said = response.dynamic_metadata
    is_remembered = "cache" in said and said["cache"] == "hit"
    if response.status.code == 0:
        ok = response.ok_response
        headers = {option.header.key: option.header.value for option in ok.headers}
        del headers["x-agent-decision-id"]
        return Answer("", 200, headers, frozenset(ok.headers_to_remove), is_remembered)
    status = response.denied_response.status.code
    return Answer(str(said["reason"]), status, {}, is_remembered=is_remembered)


@dataclass
class Company:
    """A running server, and the company that asks it."""

    config: Config
    path: Path
    channel: grpc.Channel
    wire: Wire
    r: random.Random
    wrong: list[str] = field(default_factory=list)
    purse: Purse = field(default_factory=Purse)
    used: set[object] = field(default_factory=set)

    def ask(self, asked: Asked, request: pb.CheckRequest) -> tuple[Verdict, Answer]:
        """What the docs and what the server say; a difference is noted."""
        check = self.channel.unary_unary(
            CHECK,
            request_serializer=pb.CheckRequest.SerializeToString,
            response_deserializer=pb.CheckResponse.FromString,
        )
        before = time.time()
        response = check(request, timeout=60)
        canary.note("answer", response.SerializeToString())
        answer = answer_of(response)
        verdict = self.said(asked, before)
        if difference(self.config, asked, verdict, answer):
            verdict = self.said(asked, time.time())  # a window may have opened
        self.purse.spend(verdict.spends)
        self.used |= verdict.uses
        if what := difference(self.config, asked, verdict, answer):
            self.wrong.append(f"{what}: {asked}")
        return verdict, answer

    def said(self, asked: Asked, now: float) -> Verdict:
        """What the docs say, after all that was spent and used up before."""
        verdict = decide(self.config, asked, now)
        if verdict.uses & self.used:
            return Verdict(frozenset({"approval_required"}))
        has_room = self.purse.has_room(verdict.spends)
        # An approval is used up also if a budget then has no room.
        return verdict if has_room else Verdict(frozenset({"budget_exhausted"}), uses=verdict.uses)


@contextmanager
def running(folder: Path, seed: int) -> Iterator[Company]:
    """A company's server, with all that it needs."""
    with StatusServer(folder / "status") as lists:
        config = company_config(folder, seed)
        config["issuers"][0]["status_list"] = lists.settings(max_age="1h")
        wire = Wire(folder)
        wire.publish(lists)
        path = write_config(folder, config)
        command = [sys.executable, "-m", "authz", "serve", str(path)]
        server = Process("authz", command, folder / "authz.log")
        try:
            server.wait_until(lambda: '"serving"' in server.log.read_text())
            with grpc.insecure_channel(f"unix:{folder / 'authz.sock'}") as channel:
                yield Company(config, path, channel, wire, random.Random(seed))
        finally:
            server.stop()


def difference(config: Config, asked: Asked, verdict: Verdict, answer: Answer) -> str:
    """What the server says otherwise than the docs, "" for nothing."""
    if answer.reason not in (verdict.reasons or {""}):
        return f"{answer.reason or 'allowed'}, not {sorted(verdict.reasons) or 'allowed'}"
    if answer.status != (wanted := status_of(config, asked, answer.reason)):
        return f"HTTP {answer.status}, not {wanted}"
    if verdict.reasons:
        return ""
    for name, value in verdict.headers.items():
        if answer.headers.get(name, "") != value:
            return f"{name} is {answer.headers.get(name)!r}, not {value!r}"
        if not value and name not in answer.removed:
            return f"{name} of the client stays"
    return "" if "authorization" in answer.removed else "the token stays"


def status_of(config: Config, asked: Asked, reason: str) -> int:
    """The status of the docs; 200 where clients read only messages."""
    if reason in ("policy_denied", "method_unknown", "budget_exhausted"):
        segments, host = read_path(asked.path)[0], host_of(asked.host)
        if find_route(config, host, segments, asked.route).get("refusals") == "message":
            return 200
    return STATUSES.get(reason, 200)


def made(requests: Requests, company: Company) -> Asked:
    """One that is aimed at a rule, or a near miss of one that is allowed."""
    now = time.time()
    asked = requests.aimed(now)
    if company.r.random() > NEAR:
        return asked
    while decide(company.config, asked, now).reasons:
        asked = requests.aimed(now)
    return near_miss(company.r, asked)


@pytest.mark.drawn
@pytest.mark.timeout(60 + REQUESTS / 10)
def test_company(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The server answers as the docs say, twice the same; and replay of its log changes nothing."""
    with running(tmp_path, SEED) as company:
        requests = Requests(company.config, company.r)
        reasons: Counter[str] = Counter()
        remembered = 0
        for _ in range(REQUESTS):
            asked = made(requests, company)
            request = company.wire.check_request(asked)
            verdict, answer = company.ask(asked, request)
            reasons[answer.reason] += 1
            if company.r.random() < AGAIN:
                verdict_again, again = company.ask(asked, request)
                remembered += again.is_remembered
                assert again == answer or verdict_again != verdict, (SEED, asked)

    assert not company.wrong, "\n".join(
        [f"{len(company.wrong)} with seed {SEED}", *company.wrong[:9]]
    )
    assert reasons[""] >= 0.3 * REQUESTS, reasons
    assert len(reasons) > 20, reasons  # and the allow
    assert {"token_revoked", "status_unavailable"} <= reasons.keys(), reasons
    assert remembered, "nothing was remembered"
    assert reasons["budget_exhausted"] > 1, reasons
    assert reasons["approval_required"] > 1, reasons
    assert company.used, "no approval was used up"
    assert_replayed(company.path, tmp_path / "audit.jsonl", capsys)


def assert_replayed(config: Path, log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same config decides every record as it was decided."""
    assert main(["replay", str(config), "--audit", str(log), "--strict", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    for change in ("newly_allowed", "newly_denied", "undecidable", "bad_lines"):
        assert told[change]["count"] == 0, (SEED, told)
    assert told["records"] >= REQUESTS
    assert told["unchanged"] >= 0.5 * REQUESTS
