"""The token service's own faults: no token, and a record and a count of each, as of any refusal."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from prometheus_client import generate_latest

from authz.adapters.signing.signer import Signer
from authz.core.sts.service import TokenService
from authz.edge.token_records import TokenRecords
from authz.server.sts_process import StsProcess
from authz.transports.clients import ClientAuthenticator
from lab.mesh import ORCHESTRATOR, sample_of
from support.sts_server import TokenServiceWorld
from support.world import wait_until


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenServiceWorld]:
    """A token service's files, its issuer and its CA."""
    with TokenServiceWorld(tmp_path_factory.mktemp("sts")) as made:
        yield made


@pytest.fixture(scope="module")
def service(world: TokenServiceWorld) -> Iterator[StsProcess]:
    """Run it."""
    with world.serving() as process:
        yield process


def _failing(*_: Any, **__: Any) -> Any:
    raise LookupError("SECRET-WORDS")


def _counted(service: StsProcess) -> float:
    text = generate_latest(service.metrics.registry).decode()
    return sample_of(text, 'authz_sts_requests_total{reason="internal_error"}')


def _recorded(world: TokenServiceWorld) -> list[dict[str, Any]]:
    return [each for each in world.audit_records() if each["reason"] == "internal_error"]


def _faulty(world: TokenServiceWorld) -> httpx.Response:
    """Ask, and require the answer of a fault."""
    with world.client() as agent:
        answer = world.exchange(agent)
        assert (answer.status_code, answer.json()["error"]) == (500, "server_error")
        assert answer.headers["cache-control"] == "no-store"
    return answer


@pytest.mark.parametrize(
    "step",
    [
        (TokenService, "decide", ORCHESTRATOR),
        (Signer, "sign", ORCHESTRATOR),
        (ClientAuthenticator, "__call__", ""),
    ],
    ids=lambda step: step[0].__name__,
)
def test_a_fault_is_recorded_and_counted(
    world: TokenServiceWorld,
    service: StsProcess,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    step: tuple[type, str, str],
) -> None:
    """Whatever step fails, of deciding, signing, or telling who asks; the next request is served.

    Neither answer, log nor record has the fault's own words, which could quote a request.
    """
    place, name, agent = step
    before, counted = len(_recorded(world)), _counted(service)
    with monkeypatch.context() as patched:
        patched.setattr(place, name, _failing)
        answer = _faulty(world)
    wait_until(lambda: len(_recorded(world)) > before)
    (record,) = _recorded(world)[before:]
    assert (record["decision"], record["status"]) == ("deny", 500)
    assert (record["agent"], record["issuance"]["error"]) == (agent, "server_error")
    assert _counted(service) == counted + 1
    assert "LookupError" in caplog.text
    assert "SECRET-WORDS" not in f"{caplog.text}{record}{answer.text}"
    with world.client() as client:
        assert world.exchange(client).status_code == 200


def test_a_fault_of_records_is_counted(
    world: TokenServiceWorld, service: StsProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request of which no record can be made gets no token, and is counted at least."""
    counted = _counted(service)
    monkeypatch.setattr(TokenRecords, "line", _failing)
    _faulty(world)
    assert _counted(service) == counted + 1
