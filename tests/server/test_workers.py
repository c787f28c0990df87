"""Several workers as one server: started again, added up, told together, and gone together."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from authz.adapters.audit import AuditSettings
from authz.adapters.audit.log import AuditLog
from authz.cli import main
from authz.config import ConfigError, load
from authz.server.supervisor import Supervisor
from authz.server.worker_metrics import MergedMetrics, merged, parse_samples
from lab.config_builder import LAB
from lab.live_files import whole_records
from lab.mesh import TRAVEL, Mesh, Server
from support.load import under_load
from support.serving import Serving
from support.verbs import write_config
from support.world import READ
from support.world import wait_until as until

BALANCE = "/finance/balance"


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """An Envoy with one server of two workers."""
    with Mesh(Path(tmp_path_factory.mktemp("workers")), workers=2) as made:
        yield made


def workers_of(server: Server | Serving) -> list[int]:
    """The process ids of its workers, by number."""
    pid = server.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return sorted(map(int, children.split()), key=_number)


def _number(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:  # it has just ended
        return ""
    return words[4] if "authz.server.worker" in words else ""  # not yet: it is just being started


def is_ready(server: Server) -> bool:
    """Whether all of it is."""
    return server.get("/readyz")[0] == 200


def envoy_knows(mesh: Mesh) -> bool:
    """Whether Envoy holds both for healthy: it looks once a second."""
    flags = [line for line in mesh.envoy.admin("/clusters").splitlines() if "authz::" in line]
    return sum(line.endswith("::health_flags::healthy") for line in flags) == 2


def allowed(server: Server) -> float:
    """How many checks it allowed."""
    return server.metric('authz_decisions_total{decision="allow",reason=""}')


def test_both_work_and_are_added_up(mesh: Mesh) -> None:
    """Envoy asks both, and the metrics are those of one server."""
    server, client = mesh.servers[0], mesh.agent(TRAVEL)
    token, before = mesh.issuer.token(TRAVEL, scope=READ), allowed(server)
    asked = 0
    while server.metric("authz_cache_entries") < 2:  # each worker remembers for itself
        assert client.get(BALANCE, token).status == 200
        asked += 1
        assert asked < 1000, "one of them is never asked"
    status, body = server.get("/readyz")
    version = [line for line in server.get("/metrics")[1].splitlines() if "policy_info{" in line]
    presented = json.loads(server.get("/presented")[1])

    assert allowed(server) == before + asked
    assert status == 200
    assert [one["keys"] for one in json.loads(body)["checks"]["workers"]] == [True, True]
    assert len(version) == 1
    assert version[0].endswith(" 1.0")
    assert presented["silent_workers"] == 0
    assert [one["decided"] for one in presented["presented"]] == [2]  # each worker decided it once


def test_a_killed_worker_is_back_and_nobody_notices(mesh: Mesh) -> None:
    """SIGKILL to one of two under load: no request fails, it is back, no counter falls."""
    server, token = mesh.servers[0], mesh.issuer.token(TRAVEL, scope=READ)
    counted = []
    with under_load(mesh.agent(TRAVEL), token, threads=4) as answers:
        for number in (0, 1):
            time.sleep(2.5)  # longer than an ejection
            until(lambda: envoy_knows(mesh))
            old = workers_of(server)
            counted.append(allowed(server))
            os.kill(old[number], signal.SIGKILL)
            until(lambda old=old: workers_of(server) != old)  # type: ignore[misc]
            until(lambda: is_ready(server))
            counted.append(allowed(server))
        before = answers.total()
        until(lambda: answers.total() > before + 100)

    assert set(answers) == {(200, "", b"")}
    assert answers.total() > 100
    assert counted == sorted(counted)
    assert server.metric("authz_worker_restarts_total") == 2


def test_a_reload_reaches_all(mesh: Mesh) -> None:
    """An edit and a SIGHUP: every worker decides by the new policy."""
    server, client = mesh.servers[0], mesh.agent(TRAVEL)
    token = mesh.issuer.token(TRAVEL, scope=READ)
    try:
        server.write_config(LAB.with_(("agents", TRAVEL, "id"), f"{TRAVEL}-gone"))
        server.process.signal(signal.SIGHUP)
        until(lambda: {client.get(BALANCE, token).reason for _ in range(10)} == {"agent_unknown"})
    finally:
        server.write_config(LAB)
        server.process.signal(signal.SIGHUP)
        until(lambda: {client.get(BALANCE, token).status for _ in range(6)} == {200})


def test_audit_lines_of_all_are_whole(mesh: Mesh) -> None:
    """Several processes write one file, and every line is a record."""
    client, token = mesh.agent(TRAVEL), mesh.issuer.token(TRAVEL, scope=READ)
    for _ in range(20):
        client.get(BALANCE, token)
    until(lambda: mesh.servers[0].metric('authz_audit_queue_length{sink="file"}') == 0)
    ids = [record["decision_id"] for record in whole_records(mesh.servers[0].audit)]

    assert len(ids) == len(set(ids)) >= 20


def test_a_core_for_each(tmp_path: Path) -> None:
    """With ``pin`` each worker stays on one core, and the next worker has the next one."""
    allowed_cores = sorted(os.sched_getaffinity(0))
    pinned = LAB.with_(("server", "pin"), value=True)
    with Serving(tmp_path, pinned, workers=2) as server:
        server.read_until("workers are up")
        for pid, number in zip(workers_of(server), (0, 1), strict=True):
            tasks = [int(one.name) for one in Path(f"/proc/{pid}/task").iterdir()]
            core = {allowed_cores[number % len(allowed_cores)]}
            elsewhere = [task for task in tasks if _cores_of(task) not in (core, None)]

            assert len(tasks) > 5
            assert len(elsewhere) <= 1, "but for the thread that waits for the supervisor's end"


def _cores_of(task: int) -> set[int] | None:
    try:
        return os.sched_getaffinity(task)
    except ProcessLookupError:  # a thread that has just ended
        return None


def test_a_stop_is_of_all(tmp_path: Path) -> None:
    """SIGTERM drains every worker; status 0, no process and no folder is left."""
    with Serving(tmp_path, workers=2) as server:
        server.read_until("workers are up")
        pids = workers_of(server)

        assert server.stop() == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_workers_go_with_their_supervisor(tmp_path: Path) -> None:
    """When the supervisor is killed its workers stop: they would be beyond anyone's reach."""
    with Serving(tmp_path, workers=2) as server:
        server.read_until("workers are up")
        pids = workers_of(server)
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait()
        until(lambda: not any(_runs(pid) for pid in pids))


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def test_a_worker_that_cannot_start(tmp_path: Path) -> None:
    """What keeps one from starting keeps the server from starting, with the reason in the log."""
    config = Server(tmp_path, "unused", "http://127.0.0.1:9/jwks", workers=2)
    config.process.stop()
    (tmp_path / "unused-1.sock").unlink(missing_ok=True)
    (tmp_path / "unused-1.sock").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "authz", "serve", str(config.config)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert done.returncode == 3
    assert "worker 1 could not start: can't listen on" in done.stderr
    assert "could not start: a worker did not start" in done.stderr


def test_no_folder_for_the_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing can be written, as in a read-only container, it is said what is needed."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    config = write_config(tmp_path)

    with pytest.raises(OSError, match="make /tmp writable, or name another folder in TMPDIR"):
        Supervisor(config, load(config))


def test_each_worker_needs_an_address(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One address for several workers is an error that says what would be right."""
    server = Server(tmp_path, "unused", "http://127.0.0.1:9/jwks", workers=2)
    server.process.stop()
    server.write_config(LAB.with_(("server", "listen"), f"unix:{tmp_path}/unused.sock"))
    with pytest.raises(ConfigError, match=r"needs \{worker\}, as in unix:"):
        load(server.config)
    assert main(["check", str(server.config)]) == 1
    assert f"{server.config}:2: server.listen: with several" in capsys.readouterr().err


FIRST = """\
# TYPE authz_decisions_total counter
authz_decisions_total{decision="allow",reason=""} 5.0
# TYPE authz_cache_entries gauge
authz_cache_entries 3.0
# TYPE authz_keys_age_seconds gauge
authz_keys_age_seconds{issuer="i"} 9.0
# TYPE authz_tls_certificate_expiry_timestamp_seconds gauge
authz_tls_certificate_expiry_timestamp_seconds 100.0
# TYPE authz_decision_duration_seconds histogram
authz_decision_duration_seconds_bucket{cache="hit",le="+Inf"} 4.0
authz_decision_duration_seconds_sum{cache="hit"} 0.5
# TYPE foreign gauge
foreign 1.0
"""


def test_how_numbers_are_added_up() -> None:
    """Counters and shares are added; of other gauges the worst counts; what is not ours is out."""
    first = parse_samples(FIRST)
    second = {key: value * 2 for key, value in first.items()}
    total = {name: value for (_, name, _), value in merged([first, second]).items()}

    assert total == {
        "authz_decisions_total": 15.0,
        "authz_cache_entries": 9.0,
        "authz_keys_age_seconds": 18.0,
        "authz_tls_certificate_expiry_timestamp_seconds": 100.0,
        "authz_decision_duration_seconds_bucket": 12.0,
        "authz_decision_duration_seconds_sum": 1.5,
    }


def test_counters_of_the_departed_stay() -> None:
    """What a worker had counted is kept when it is gone; its gauges go with it."""
    first = parse_samples(FIRST)
    live = [first]
    metrics = MergedMetrics(lambda: live)
    metrics.departed(first)
    samples = {s.name: s.value for family in metrics.collect() for s in family.samples}

    assert samples["authz_decisions_total"] == 10.0
    assert samples["authz_cache_entries"] == 3.0
    assert samples["authz_worker_restarts_total"] == 1.0


def test_agents_of_the_departed_are_bounded() -> None:
    """However many workers end, they leave names of a hundred agents, and lose no count."""
    metrics = MergedMetrics(list)
    name = "authz_agent_refusals"
    for worker in range(3):
        agents = [f"spiffe://corp.example/{worker}/{number}" for number in range(100)]
        metrics.departed({(name, f"{name}_total", (("agent", one),)): 2.0 for one in agents})

    (family,) = (family for family in metrics.collect() if family.name == name)
    counts = {sample.labels["agent"]: sample.value for sample in family.samples}
    assert len(counts) == 101
    assert counts["(others)"] == 400.0
    assert sum(counts.values()) == 600.0


def test_lines_into_a_pipe_are_written_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe takes 4096 bytes at once: no write of ours ends in the middle of a shorter line."""
    reader, writer = os.pipe()
    writes: list[bytes] = []

    def note(_: object, data: memoryview) -> int:
        writes.append(bytes(data))
        return len(data)

    monkeypatch.setattr("authz.adapters.audit.sinks.output._write", note)
    log = AuditLog(AuditSettings(path=f"/proc/self/fd/{writer}"))
    log.start()
    lines = ["x" * size + "\n" for size in (10, 4000, 90, 5, 4095, 6000, 1)]
    for line in lines:
        log.append(line)
    log.close()
    os.close(reader)
    os.close(writer)

    assert b"".join(writes).decode() == "".join(lines)
    assert all(one.endswith(b"\n") for one in writes)
    assert max(len(one) for one in writes if len(one) != 6001) <= 4096


def test_ctrl_c_while_workers_load(tmp_path: Path) -> None:
    """Ctrl-C on a terminal, which is for all of its programs, ends loading workers silently."""
    # The command begins a session, as a terminal's program does; its group gets the signal.
    with Serving(tmp_path, workers=2, command=["setsid"]) as serving:
        pid = serving.process.pid
        until(lambda: len([found for found in workers_of(serving) if _number(found)]) == 2)
        os.killpg(pid, signal.SIGINT)
        _, said = serving.process.communicate(timeout=60)

    assert serving.process.returncode == 0
    assert b"Traceback" not in said
