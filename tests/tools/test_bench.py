"""The bench measures what it says: what it replaces, asks, compares and builds is there."""

import os
import pkgutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from authz._pb import ext_authz_pb2 as pb
from authz.config import load_text
from bench import build, run
from bench.bars import BARS, OTHERS
from bench.echo import EXECUTOR, RECORDING
from bench.loads import Load
from bench.measure import Cell, Run, cpu_seconds, resident_mb, tree
from bench.messages import Messages, write
from bench.servers import (
    ALGORITHMS,
    ASSERTING,
    BEFORE,
    C_ECHO,
    CHANGES,
    GO,
    GO_CACHE,
    GO_ECHO,
    GRPCIO,
    OURS,
    SHARED,
    go_rules,
)
from lab.ca import Authority
from lab.issuer import Issuer
from lab.mesh import AUDIENCE, CONFIG, ISSUER, TRAVEL

OF_OTHERS = ("bare", "stock", "ours-stock", C_ECHO, GO_ECHO, GO, GO_CACHE)
ALL = (OURS, GRPCIO, SHARED, ASSERTING, BEFORE, *OF_OTHERS)


@pytest.fixture(scope="module")
def messages(tmp_path_factory: pytest.TempPathFactory) -> Messages:
    """An agent's requests."""
    authority = Authority(tmp_path_factory.mktemp("bench") / "pki")
    return Messages(authority.issue(TRAVEL), Issuer(ISSUER, AUDIENCE))


@pytest.mark.parametrize("name", [EXECUTOR, *RECORDING])
def test_what_is_replaced_is_there(name: str) -> None:
    """A name that the bench replaces is one of the server's; another would make it fail late."""
    module, _, attribute = name.rpartition(".")

    assert hasattr(pkgutil.resolve_name(module), attribute)


@pytest.mark.parametrize("raw", [False, True])
def test_variants_differ_where_no_decision_looks(messages: Messages, *, raw: bool) -> None:
    """The same request comes with other ids, another port and another time, and nothing else."""
    make = messages.remembered(raw=raw)
    first, second = (pb.CheckRequest.FromString(make()) for _ in range(2))

    assert first != second
    for one in (first, second):
        attributes, http = one.attributes, one.attributes.request.http
        attributes.ClearField("source")
        attributes.request.ClearField("time")
        http.ClearField("id")
        for name in ("x-request-id", "traceparent"):
            http.headers.pop(name, None)
        for header in http.header_map.headers:
            if header.key in {"x-request-id", "traceparent"}:
                header.ClearField("raw_value")
    assert first == second


def test_new_paths_and_calls_are_new(messages: Messages) -> None:
    """No path is asked for twice with ``new_paths``, and no JSON-RPC id is used twice."""
    paths, calls = messages.new_paths(), messages.calls()
    made = [pb.CheckRequest.FromString(paths()).attributes.request.http for _ in range(20)]
    bodies = [pb.CheckRequest.FromString(calls()).attributes.request.http for _ in range(20)]

    assert len({http.path for http in made}) == 20
    assert len({http.raw_body for http in bodies}) == 20
    assert all(http.size == len(http.raw_body) for http in bodies)


def test_messages_are_written_behind_their_sizes(messages: Messages, tmp_path: Path) -> None:
    """The load generator reads messages from a file, each behind its size in four bytes."""
    make = messages.remembered()
    path = write(tmp_path / "messages", make, 3)

    data, found = path.read_bytes(), 0
    path.unlink()  # it holds a token, on purpose, and no file may that a test leaves
    while data:
        size = int.from_bytes(data[:4], "big")
        pb.CheckRequest.FromString(data[4 : 4 + size])
        data, found = data[4 + size :], found + 1
    assert found == 3


def test_every_bar_is_measured(messages: Messages) -> None:
    """Both cells of each bar are measured in a round, where all servers are there."""
    everybody = SimpleNamespace(
        messages=messages,
        addresses=dict.fromkeys(ALL, ""),
        issuers={name: Issuer(ISSUER, AUDIENCE, name) for name in ALGORITHMS},
    )
    cells = {(turn.name, turn.mode) for turn in run.turns(cast("Any", everybody))}

    for bar in (*BARS, *OTHERS):
        assert {(bar.top, bar.mode), (bar.bottom, bar.mode)} <= cells, bar


def test_a_ratio_is_of_each_round() -> None:
    """A ratio is the median of the rounds' own ratios, since the clock drifts between rounds."""
    both = Run(3, 1.0)
    for fast, slow in ((1.0, 2.0), (10.0, 20.0), (100.0, 1.0)):
        both.samples.setdefault(("a", "32"), []).append(Cell(cpu=fast))
        both.samples.setdefault(("b", "32"), []).append(Cell(cpu=slow))

    assert both.ratio("a", "b") == 0.5


def test_the_server_in_go_has_our_rules() -> None:
    """Both servers decide by the same number of rules, for the same paths."""
    text = CONFIG.format(
        socket="/nowhere/authz.sock",
        admin_port=0,
        drain="1s",
        jwks_uri="http://127.0.0.1:1/",
        audit="/dev/null",
    )
    config = load_text(CHANGES.edit(text).encode(), "bench.yaml")
    ours = [rule.paths[0] for rules in config.grants.values() for rule in rules]

    theirs = [rule["path"].replace("payments/*", "payments/{id}") for rule in go_rules()]
    assert theirs == ours
    assert len(ours) == 10


def test_a_load_says_how() -> None:
    """A load is so many in flight, or so many a second."""
    assert Load.parse("one").arguments() == ["closed", "1"]
    assert Load.parse("32").arguments() == ["closed", "32"]
    assert Load.parse("1000/s").arguments() == ["open", "1000.0"]


def test_what_cannot_be_built_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without compilers the bench goes on, and says what it left out and why."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(build, "BUILT", tmp_path / "built")

    with pytest.raises(build.BuildError, match="gcc is not installed"):
        build.build_c()
    with pytest.raises(build.BuildError, match="go is not installed"):
        build.build_go()


def test_children_count() -> None:
    """The CPU and the memory of a server are those of all of its processes."""
    alone = resident_mb(os.getpid())
    busy = "print(sum(range(3_000_000)), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", busy], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()

        assert tree(os.getpid())[:1] == [os.getpid()]
        assert child.pid in tree(os.getpid())
        assert cpu_seconds(os.getpid()) > cpu_seconds(child.pid) > 0
        assert resident_mb(os.getpid()) > alone
        child.communicate(b"\n")
