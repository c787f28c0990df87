"""The verb doctor: a recorded CheckRequest in each form, and servers that answer or do not."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from google.protobuf import json_format, text_format
from prometheus_client import CollectorRegistry

from authz.adapters.admin import AdminServer
from authz.config import load
from authz.edge.presentation import Kept
from authz.review.doctor.recorded import present_recorded
from authz.server.presented import merged_presented, presented_by
from authz.wiring.policy_version import compute_policy_version
from lab.ca import Authority
from lab.config_builder import LAB
from lab.mesh import GATEWAY, TRAVEL
from support.verbs import edit, run
from support.world import check_request

CALLERS = LAB.with_profile("edge", f"{{callers: ['{GATEWAY}'], certificate: required}}")


@pytest.fixture
def recorded(tmp_path: Path) -> Any:
    """A CheckRequest without the caller's certificate, which the config requires."""
    svid = Authority(tmp_path / "pki").issue(TRAVEL)
    names = (":authority", ":path", ":method", "authorization")
    headers = [(name, "x") for name in names]
    return check_request(svid, headers, raw_headers=True, certificate="")


@contextmanager
def serving(presented: Callable[[], dict[str, Any]]) -> Iterator[str]:
    """An admin address that answers this to /presented."""
    admin = AdminServer("127.0.0.1:0", CollectorRegistry(), lambda: (True, {}), presented=presented)
    admin.start()
    with closing(admin):
        yield admin.address


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """Run the doctor with --json; return its object with the exit status."""
    capsys.readouterr()
    status = run("doctor", *arguments, "--json")
    return status, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("form", ["binary", "text", "json"])
def test_a_recorded_request(
    config: Path, recorded: Any, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same is found whichever form of protobuf the request was recorded in."""
    forms = {
        "binary": recorded.SerializeToString(),
        "text": text_format.MessageToString(recorded).encode(),
        "json": json_format.MessageToJson(recorded).encode(),
    }
    path = config.parent / "request"
    path.write_bytes(forms[form])
    status, answer = told(capsys, str(config), "--request", str(path))

    assert (status, answer["fine"]) == (1, False)
    assert [one["code"] for one in answer["findings"]] == ["no_certificate"]
    assert "include_peer_certificate: true" in answer["findings"][0]["cures"]["Envoy"]


def test_a_recorded_request_of_a_proxy(
    config: Path, recorded: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --proxy the profile is the one whose callers list it."""
    edit(config, CALLERS)
    path = config.parent / "request"
    path.write_bytes(recorded.SerializeToString())
    _, answer = told(capsys, str(config), "--request", str(path), "--proxy", GATEWAY)
    last = answer["presented"][0]["last"]

    assert (last["profile"], last["profile_by"], last["proxy"]) == ("edge", "callers", GATEWAY)


def test_what_is_no_request(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is missing or no CheckRequest is told, without its text."""
    path = config.parent / "request"
    path.write_text("{not one")

    assert run("doctor", str(config), "--request", str(path)) == 1
    assert "not a CheckRequest" in capsys.readouterr().err
    assert run("doctor", str(config), "--request", str(config.parent / "none")) == 1
    assert "No such file" in capsys.readouterr().err


@pytest.mark.parametrize("verb", [("doctor", "--request"), ("explain", "--check-request")])
def test_a_hostile_request(config: Path, recorded: Any, verb: tuple[str, str], capsys: Any) -> None:
    """A file of any nesting, and of any time, is told in one line."""
    name, flag = verb
    recorded.attributes.request.time.seconds = 10**17
    path = config.parent / "request"
    for data in (recorded.SerializeToString(), b"attributes " + b"{ a " * 50_000):
        path.write_bytes(data)

        assert run(name, str(config), flag, str(path)) == 1
        said = capsys.readouterr()
        assert "not a CheckRequest" in said.err
        assert len(said.err.splitlines()) == 1


@pytest.mark.parametrize("at", [1e300, -1e17])
def test_a_server_that_lies(config: Path, recorded: Any, at: float, capsys: Any) -> None:
    """A time that is none is told as that, as is all else."""
    kept = present_recorded(load(config), recorded, 1.8e9)
    last = msgspec.structs.replace(kept.last, at=at, decision="\x1b[2J")
    answer = presented_by("", 1.0, [msgspec.structs.replace(kept, last=last)])
    with serving(lambda: answer) as address:
        assert run("doctor", str(config), "--address", address) == 1
    told = capsys.readouterr().out

    assert "at no time: " in told
    assert "\x1b" not in told


def test_a_running_server(config: Path, recorded: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """What the server has kept is what a recorded request shows; nothing is an error of its own."""
    loaded = load(config)
    kept = present_recorded(loaded, recorded, 1.8e9)
    answer = presented_by(compute_policy_version(loaded), 1.0, [kept])
    with serving(lambda: answer) as address:
        status, found = told(capsys, str(config), "--address", address)

    assert status == 1
    assert [one["code"] for one in found["findings"]] == ["no_certificate"]
    assert msgspec.convert(found["presented"], list[Kept]) == [kept]


def test_a_server_that_nobody_asked(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing asked is an error, for the proxy does not reach the server; so is another config."""
    with serving(lambda: presented_by("other", 1.0, ())) as address:
        status, found = told(capsys, str(config), "--address", address)

    assert status == 1
    assert [one["code"] for one in found["findings"]] == ["never_asked", "other_config"]
    assert "authz.sock" in found["findings"][0]["cures"]["Envoy"]


def test_a_server_that_does_not_answer(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A closed port, and another program's answer, are told with the address."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    assert run("doctor", str(config), "--address", address) == 1
    assert f"http://{address}/presented: Connection refused" in capsys.readouterr().err

    with serving(lambda: {"hello": "\x1b[2J"}) as address:
        assert run("doctor", str(config), "--address", address) == 1
    said = capsys.readouterr().err
    assert "not that of an agent-authz" in said
    assert "\x1b" not in said


def test_the_address_of_the_config(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --address it asks admin.listen, on loopback where the server listens anywhere."""
    with serving(lambda: presented_by("", 1.0, ())) as address:
        listen = f"0.0.0.0:{address.rpartition(':')[2]}"
        edit(config, LAB.with_(("admin", "listen"), listen))
        _, found = told(capsys, str(config))

    assert found["findings"][0]["code"] == "never_asked"


def test_usage(config: Path) -> None:
    """A server has an address, a request has a proxy; not the other way round."""
    for words in (["--address", "a:1", "--request", "x"], ["--proxy", GATEWAY]):
        with pytest.raises(SystemExit, match="2"):
            run("doctor", str(config), *words)


def test_workers_are_added_up(recorded: Any, config: Path) -> None:
    """Of each kind the newest presentation counts, with the checks of all workers that answer."""
    loaded = load(config)
    old, new = (present_recorded(loaded, recorded, at) for at in (1.0, 2.0))
    answers = [presented_by("v", at, [kept]) for at, kept in ((5.0, new), (4.0, old))]
    merged = merged_presented([*answers, None])

    assert (merged["policy_version"], merged["begun_at"], merged["silent_workers"]) == ("v", 4.0, 1)
    [kept] = merged["presented"]
    assert msgspec.convert(kept, Kept).last == new.last
    assert (kept["decided"], kept["seen"]) == (2, 2)


def test_every_member_is_on_the_page(
    config: Path, recorded: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reference of --json names each member of the answer and of a finding."""
    path = config.parent / "request"
    path.write_bytes(recorded.SerializeToString())
    _, answer = told(capsys, str(config), "--request", str(path))
    page = (Path(__file__).parents[2] / "docs" / "reference" / "json.md").read_text()

    for name in {*answer, *answer["findings"][0], *answer["presented"][0]}:
        assert f"`{name}`" in page
