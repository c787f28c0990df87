"""Keys on disk: a start without its issuer has what was fetched before, and nothing else."""

import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import hypothesis
import pytest
from hypothesis import strategies as st

from authz._pb import ext_authz_pb2 as pb
from authz.adapters.keys import KeyCacheSettings
from authz.adapters.keys.fetcher import KeySourceConfig
from authz.adapters.keys.folder import KeyFolder
from authz.adapters.keys.store import KeyStore
from authz.cli import main
from authz.core.jose import KeySettings
from authz.core.jose.settings import SpiffeBundleSettings
from lab.ca import Authority
from lab.config_builder import LAB
from lab.issuer import Issuer, JwksServer
from lab.mesh import AUDIENCE, ISSUER, TRAVEL, Server
from support.jwks_server import ScriptedServer, answer, ec_key, key_set
from support.world import PATIENCE_SECONDS as SECONDS
from support.world import READ, World, check_request, reason_of
from support.world import wait_until as until

ALL = frozenset({"ES256"})
CHECK = "/envoy.service.auth.v3.Authorization/Check"
URL, OTHER = "https://as.example", "https://other.example"
OLD, NEW = ec_key("old"), ec_key("new")
DOWN = "http://127.0.0.1:1/jwks"


def settings(server: ScriptedServer, **changes: Any) -> KeySettings:
    """Where the server's keys are."""
    return KeySettings(**{"jwks_uri": server.url, "insecure": True, "cooldown": 1.0, **changes})


@contextmanager
def running(folder: Path, **sources: KeySettings) -> Iterator[KeyStore]:
    """A started store that keeps keys in a folder; ``a`` is URL's source, ``b`` OTHER's."""
    names = {"a": URL, "b": OTHER}
    store = KeyStore(
        {names[name]: KeySourceConfig(one, ALL) for name, one in sources.items()},
        KeyFolder(KeyCacheSettings(folder=str(folder))),
    )
    store.start()
    try:
        yield store
    finally:
        store.close()


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """A server with the old key."""
    serving = ScriptedServer(answer(key_set(OLD)))
    yield serving
    serving.close()


@pytest.fixture
def folder(tmp_path: Path, server: ScriptedServer) -> Path:
    """A folder with what was fetched from the server, which is down by now."""
    path = tmp_path / "keys"
    with running(path, a=settings(server)) as store:
        until(lambda: store.status()[0].successes)
    assert file_of(path).is_file()
    server.serve(answer(b"", 500))
    return path


def file_of(folder: Path) -> Path:
    """The only file."""
    [path] = folder.glob("[!.]*")
    return path


def record_of(folder: Path) -> dict[str, Any]:
    """What it holds."""
    record: dict[str, Any] = json.loads(file_of(folder).read_bytes())
    return record


def is_empty(folder: Path, source: KeySettings) -> bool:
    """Whether a start has no keys after it looked, and after its fetch failed."""
    with running(folder, a=source) as store:
        until(lambda: store.status()[0].failures)
        return store.get(URL) is None


def test_a_start_without_the_issuer(server: ScriptedServer, folder: Path) -> None:
    """What was fetched before is there at once, as old as it is, until the issuer is back."""
    fetched_at = record_of(folder)["fetched_at"]
    with running(folder, a=settings(server, max_age=600.0)) as store:
        until(store.ready)
        keys = store.get(URL)
        assert keys is not None
        assert [*keys.keys] == ["old"]
        assert keys.fetched_at == fetched_at
        assert keys.usable_until == fetched_at + 600.0
        until(lambda: store.status()[0].failures)
        assert store.get(URL) is keys
        server.serve(answer(key_set(NEW)))
        until(lambda: store.refresh(URL, "new", SECONDS))
        fresh = store.get(URL)
        assert fresh is not None
        assert [*fresh.keys] == ["new"]
        assert fresh.fetched_at > fetched_at


def test_what_is_kept(server: ScriptedServer, folder: Path) -> None:
    """A file for an issuer: the document as it came, whose, from where and when; for us alone."""
    path = file_of(folder)
    record = record_of(folder)

    assert record["document"].encode() == key_set(OLD)
    assert record["issuer"] == URL
    assert abs(record["fetched_at"] - time.time()) < 60
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    server.serve(answer(key_set(NEW)))
    with running(folder, a=settings(server)):
        until(lambda: record_of(folder)["document"].encode() == key_set(NEW))


def changed(**changes: Any) -> Callable[[Path], None]:
    """Another record in the file."""

    def change(path: Path) -> None:
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


def doubled(path: Path) -> None:
    """A member twice."""
    path.write_text(path.read_text().replace("{", f'{{"issuer":"{URL}",', 1))


def instead(make: Callable[[Path], None]) -> Callable[[Path], None]:
    """Something else under its name."""

    def change(path: Path) -> None:
        path.rename(path.parent / "x")
        make(path)

    return change


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "not JSON"),
    "cut": (lambda path: os.truncate(path, 100), "not JSON"),
    "garbage": (lambda path: path.write_bytes(b"\xff" * 999), "not JSON"),
    "large": (lambda path: path.write_bytes(b" " * 2**21), "not JSON"),
    "list": (lambda path: path.write_bytes(b"[]"), "Expected `object`"),
    "doubled": (doubled, "a member name occurs twice"),
    "further": (changed(more=1), "unknown field"),
    "version": (changed(version=2), "another version"),
    "issuer": (changed(issuer=OTHER), "of another issuer"),
    "place": (changed(place="0" * 64), "from another place"),
    "future": (changed(fetched_at=time.time() + 360_000), "in the future"),
    "old": (changed(fetched_at=time.time() - 90_000), "older than max_age"),
    "never": (changed(fetched_at=0), "older than max_age"),
    "no keys": (changed(document='{"keys":[]}'), "none of its 0 keys"),
    "no document": (changed(document="x"), "not JSON"),
    "group": (lambda path: path.chmod(0o620), "can be written by others"),
    "others": (lambda path: path.chmod(0o602), "can be written by others"),
    "pipe": (instead(lambda path: os.mkfifo(path, 0o600)), "not a plain file"),
    "folder": (instead(lambda path: path.mkdir(0o700)), "Is a directory"),
    "link": (instead(lambda path: path.symlink_to("x")), "is a link"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_passed_over(
    server: ScriptedServer, folder: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that is not what we wrote of that issuer and place is warned of, and not believed."""
    change, words = BAD[kind]
    change(file_of(folder))

    assert is_empty(folder, settings(server))
    assert words in caplog.text
    assert OLD.jwk()["x"] not in caplog.text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_another_users_file(
    server: ScriptedServer, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file or a folder of another user is not believed."""
    path = file_of(folder)
    os.chown(path, 12345, 12345)
    assert is_empty(folder, settings(server))
    assert "belongs to another user" in caplog.text
    os.chown(path, 0, 0)
    os.chown(folder, 12345, 12345)
    assert is_empty(folder, settings(server))


@pytest.mark.parametrize(
    "changes",
    [
        {"jwks_uri": DOWN},
        {"jwks_uri": None, "discovery": True},
        {"allow_any_address": True},
        {"ca_file": "/dev/null"},
    ],
)
def test_another_place(server: ScriptedServer, folder: Path, changes: dict[str, Any]) -> None:
    """Keys of one place are not taken for those of another, or for those fetched with more care."""
    with running(folder, a=settings(server)) as store:
        until(store.ready)
    assert is_empty(folder, settings(server, **changes))


def test_other_algorithms_and_intervals(server: ScriptedServer, folder: Path) -> None:
    """What the settings say now counts: fewer algorithms, and another time that keys may be old."""
    store = KeyStore(
        {URL: KeySourceConfig(settings(server), frozenset({"RS256"}))},
        KeyFolder(KeyCacheSettings(folder=str(folder))),
    )
    store.start()
    until(lambda: store.status()[0].failures)
    assert store.get(URL) is None
    store.close()
    until(lambda: time.time() > record_of(folder)["fetched_at"] + 1.0)
    assert is_empty(folder, settings(server, max_age=1.0))


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777, 0o1777])
def test_a_folder_of_many(
    tmp_path: Path, server: ScriptedServer, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    """In a folder where others can write nothing is kept or believed, and the start goes on."""
    path = tmp_path / "keys"
    path.mkdir()
    path.chmod(mode)
    with running(path, a=settings(server)) as store:
        until(lambda: store.status()[0].successes)

    assert "can't keep keys" in caplog.text
    assert "chmod go-w" in caplog.text
    assert [*path.iterdir()] == []


def test_folders_that_can_not_be(
    tmp_path: Path, server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A folder that can't be made, or is a file, never stops a start."""
    (tmp_path / "file").touch()
    for path in (tmp_path / "none" / "keys", tmp_path / "file", tmp_path / "file" / "keys"):
        with running(path, a=settings(server)) as store:
            until(store.ready)
    assert caplog.text.count("can't keep keys") == 3


def test_a_folder_that_goes(
    tmp_path: Path, server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """When nothing can be written any more that is told once, and keys are fetched as before."""
    path = tmp_path / "keys"
    with running(path, a=settings(server), b=settings(server, max_age=60.0)) as store:
        until(lambda: path.is_dir() and len([*path.glob("*.json")]) == 2)
        for one in path.iterdir():
            one.unlink()
        path.rmdir()
        for key in (NEW, OLD, NEW):
            server.serve(answer(key_set(key)))
            until(lambda key=key: store.refresh(URL, key.key_id, SECONDS))  # type: ignore[misc]
            until(lambda: not store._folder or not store._folder._waiting)
    assert caplog.text.count("can't write keys: No such file") == 1


def test_files_are_not_kept(tmp_path: Path) -> None:
    """A source on this disk is where it was, and is not kept again."""
    path = tmp_path / "jwks.json"
    path.write_bytes(key_set(OLD))
    bundle = SpiffeBundleSettings(trust_domain="corp.example", file=str(path))
    path.write_bytes(json.dumps({"keys": [{**OLD.jwk(), "use": "jwt-svid"}]}).encode())
    with running(
        tmp_path / "keys",
        a=KeySettings(spiffe_bundle=bundle),
        b=KeySettings(file=str(tmp_path / "other")),
    ) as store:
        until(lambda: store.status()[0].successes)

    assert [*(tmp_path / "keys").iterdir()] == []


def test_what_stays_the_same_is_not_written(server: ScriptedServer, folder: Path) -> None:
    """Fetches that bring nothing new write a time now and then, and not each time."""
    server.serve(answer(key_set(OLD)))
    before = file_of(folder).stat()
    source = settings(server).model_copy(update={"refresh": 0.05})
    with running(folder, a=source) as store:
        until(lambda: store.status()[0].successes > 5)

    assert file_of(folder).stat().st_ino == before.st_ino
    assert file_of(folder).stat().st_mtime_ns == before.st_mtime_ns


@hypothesis.given(st.binary(max_size=300))
def test_any_bytes(server: ScriptedServer, folder: Path, data: bytes) -> None:
    """Whatever a file holds: nothing is loaded, and nothing is raised."""
    file_of(folder).write_bytes(data)
    kept = KeyFolder(KeyCacheSettings(folder=str(folder)))
    kept.start()

    assert kept.load(URL, settings(server)) is None
    kept.close()


def test_readiness(server: ScriptedServer) -> None:
    """Ready is who has the keys of one issuer, and of all that are required at start."""
    for required, is_ready in ((False, True), (True, False)):
        store = KeyStore(
            {
                OTHER: KeySourceConfig(
                    settings(server, jwks_uri=DOWN, required_at_start=required), ALL
                ),
                URL: KeySourceConfig(settings(server), ALL),
            }
        )
        assert not store.ready()
        store.start()
        until(lambda store=store: store.get(URL) and store.status()[0].failures)  # type: ignore[misc]
        assert store.ready() is is_ready
        store.close()


def test_a_server_starts_again_without_its_issuer(tmp_path: Path) -> None:
    """A server that is started while its issuers are down is ready, and allows as before."""
    other = f"""\
- issuer: https://down.example
  keys: {{jwks_uri: '{DOWN}', insecure: true}}
  audiences: [https://mcp.corp.example/finance]
"""
    changes = LAB.with_section("key_cache", f"{{folder: '{tmp_path}/keys'}}")
    changes = changes.with_items(("issuers",), other)
    issuer, svid = Issuer(ISSUER, AUDIENCE), Authority(tmp_path / "pki").issue(TRAVEL)
    jwks = JwksServer(issuer)
    headers = [("authorization", f"Bearer {issuer.token(TRAVEL, scope=READ)}")]
    message = check_request(svid, headers).SerializeToString()
    uri = f"{jwks.url}/jwks"
    first = Server(tmp_path, "first", uri, changes=changes)
    try:
        first.wait_ready()
    finally:
        first.process.stop()
        jwks.close()
    second = Server(tmp_path, "second", uri, changes=changes)
    try:
        second.wait_ready()
        assert ", kept on disk since before the start" in second.process.log.read_text()
        assert second.metric(f'authz_keys_age_seconds{{issuer="{ISSUER}"}}') > 0
        with grpc.insecure_channel(f"unix:{second.socket}") as channel:
            check = channel.unary_unary(CHECK, None, pb.CheckResponse.FromString)
            assert reason_of(check(message, timeout=SECONDS)) == "allow"
    finally:
        second.process.stop()


def test_checking_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``authz check`` tells at its line of a folder that can't hold keys."""
    with World(tmp_path) as world:
        text = world.config_text
    config = tmp_path / "authz.yaml"
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "file").touch()
    for folder, words in (
        ("none/keys", f"there is no folder {tmp_path}/none"),
        ("open", "open can be written by others: chmod go-w"),
        ("file", "file is not a folder"),
    ):
        config.write_text(f"{text}\nkey_cache:\n  folder: {tmp_path}/{folder}\n")
        assert main(["check", str(config)]) == 1
        line = len(config.read_text().splitlines())
        said = capsys.readouterr().err
        assert f"authz.yaml:{line}: key_cache.folder: " in said
        assert words in said
    config.write_text(f"{text}\nkey_cache:\n  folder: {tmp_path}/keys\n")
    assert main(["check", str(config)]) == 0
    assert not (tmp_path / "keys").exists()
