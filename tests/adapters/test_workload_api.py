"""What operators are told whose SPIFFE agent gives nothing, by a real server's statuses."""

import os
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from authz.adapters.fetched import FetchError
from authz.adapters.keys.spiffe_bundle import SpiffeBundleSource
from authz.adapters.tls import ServerTls, TlsError
from authz.adapters.tls_settings import TlsSettings
from authz.core.jose import KeySettings
from support.workload_api import WorkloadApi

Ask = Callable[[str], str]


def svid_refusal(address: str) -> str:
    """Return what is told where the server's own SVID is asked for."""
    settings = TlsSettings(workload_api=address, allowed_callers=("spiffe://corp.example/gw",))
    with pytest.raises(TlsError) as caught:
        ServerTls(settings)
    return str(caught.value)


def bundle_refusal(address: str) -> str:
    """Return what is told where the bundle of a trust domain is asked for."""
    place = {"trust_domain": "corp.example", "workload_api": address}
    settings = KeySettings.model_validate({"spiffe_bundle": place, "timeout": "1s"})
    assert settings.spiffe_bundle is not None
    with pytest.raises(FetchError) as caught:
        SpiffeBundleSource(settings, settings.spiffe_bundle).fetch()
    return str(caught.value)


@pytest.fixture(params=[svid_refusal, bundle_refusal], ids=["svid", "bundle"])
def ask(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Either of the two places that call the Workload API."""
    monkeypatch.setattr("authz.adapters.tls_svid.TIMEOUT_SECONDS", 1.0)
    asked: Ask = request.param
    return asked


def test_no_socket(tmp_path: Path, ask: Ask) -> None:
    """A socket that is not there: is the agent running, and its socket mounted?"""
    told = ask(f"unix:{tmp_path}/none.sock")

    assert (
        f"the Workload API: there is no socket {tmp_path}/none.sock: is the agent running" in told
    )


def test_nobody_listens(tmp_path: Path, ask: Ask) -> None:
    """A socket that an agent left behind, and a file in a socket's place."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "left.sock"))
    (tmp_path / "file").write_text("")

    assert "nobody listens on it: is the agent running?" in ask(f"unix:{tmp_path}/left.sock")
    assert "it is a file, and not a socket" in ask(f"unix:{tmp_path}/file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open every socket")
def test_no_permission(tmp_path: Path, ask: Ask) -> None:
    """A socket that this user may not open."""
    api = WorkloadApi(tmp_path / "api.sock")
    (tmp_path / "api.sock").chmod(stat.S_IRUSR)
    try:
        assert "this process may not open" in ask(api.address)
    finally:
        api.close()


@pytest.mark.parametrize(
    ("status", "cause", "cure"),
    [
        ("PERMISSION_DENIED", "has no identity for this process", "create a registration entry"),
        ("DEADLINE_EXCEEDED", "no answer of ", "is the agent healthy, and its server reachable?"),
        ("UNIMPLEMENTED", "is not the Workload API", "the socket of the SPIFFE agent"),
        ("INVALID_ARGUMENT", "takes no calls of ours", "is a proxy between us and the agent?"),
        ("RESOURCE_EXHAUSTED", "too much to do", "ask it less"),
    ],
)
def test_a_status(tmp_path: Path, ask: Ask, status: str, cause: str, cure: str) -> None:
    """A status of the agent is told with its cause and cure, and none of the agent's words."""
    api = WorkloadApi(tmp_path / "api.sock")
    api.status = getattr(grpc.StatusCode, status)
    try:
        told = ask(api.address)
    finally:
        api.close()

    assert told.startswith("the Workload API: ")
    assert cause in told
    assert cure in told
    assert f"({status})" in told
    assert "api.sock" in told
    assert "no identity issued" not in told


def test_an_agent_that_does_not_answer(tmp_path: Path, ask: Ask) -> None:
    """An agent that takes the call and does not answer is waited for until the deadline."""
    with listening(tmp_path / "silent.sock"):
        told = ask(f"unix:{tmp_path}/silent.sock")

    assert told.startswith("the Workload API: ")
    assert "silent.sock" in told
    assert told.endswith(("(DEADLINE_EXCEEDED)", "(UNAVAILABLE)"))


@contextmanager
def listening(path: Path) -> Iterator[None]:
    """Listen on a socket, and say nothing."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        yield
