"""A config over several files: which are read, in what order, and how a change is noticed."""

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz._pb import ext_authz_pb2 as pb
from authz.adapters.files import STABLE_SECONDS, FileView, look
from authz.config import (
    Config,
    ConfigError,
    ConfigFiles,
    FilesChangingError,
    load,
    load_at_rest,
    load_text,
)
from authz.config import files as files_module
from authz.config import include as include_module
from authz.server import reload
from lab.ca import Authority
from lab.config_builder import LAB
from lab.issuer import Issuer, JwksServer
from lab.mesh import AUDIENCE, ISSUER, TRAVEL, Server
from support.config_halves import halves
from support.world import READ, World, check_request, reason_of, wait_until

CHECK = "/envoy.service.auth.v3.Authorization/Check"
PUBLIC = (
    "grants: {{public: [{{hosts: [{host}], methods: [GET], paths: [/finance/**], scopes: []}}]}}\n"
)
MORE = "agents: [{id: spiffe://corp.example/more, grants: [public]}]\n"
NOT_YAML = "policy.d/a.yaml:2: grants.public[0]: not YAML"
RULE = "{hosts: [a.example], methods: [GET], paths: [/**], scopes: []}"


class Folder:
    """A config's folder: a good main file, and what it includes."""

    def __init__(self, path: Path) -> None:
        """Write the lab's two halves."""
        self.path = path
        self.main, self.team = halves()
        self.include("policy.d/team.yaml")
        self.write("policy.d/team.yaml", self.team)

    def include(self, *patterns: str) -> None:
        """Write the main file with these patterns."""
        head = f"include: {list(patterns)}\n"
        self.write("authz.yaml", head + self.main.partition("\n")[2])

    def write(self, name: str, text: str) -> None:
        """Write a file, its folders too."""
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        (self.path / name).write_text(text)

    def grant(self, name: str, grant: str) -> None:
        """Write a file with one grant."""
        self.write(name, f"grants: {{{grant}: [{RULE}]}}\n")

    def load(self) -> Config:
        """Load it."""
        return load(self.path / "authz.yaml")

    def problems(self) -> list[str]:
        """What is wrong, with names from the folder."""
        with pytest.raises(ConfigError) as caught:
            self.load()
        return [line.replace(f"{self.path}/", "") for line in caught.value.lines()]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A folder that is good."""
    return Folder(tmp_path)


def extra(config: Config) -> list[str]:
    """The grants beyond those of the lab, in order."""
    return [name for name in config.grants if name not in {"finance-read", "finance-pay", "public"}]


def test_order(folder: Folder) -> None:
    """Patterns count in the order written, files within one by name, and a file once."""
    for name in ("b", "a", "c"):
        folder.grant(f"policy.d/{name}.yaml", name)
    folder.grant("teams/z/deep/er.yaml", "deeper")
    folder.grant("teams/z/one.yml", "yml")
    folder.grant("teams/top.yaml", "top")
    folder.include("policy.d/c.yaml", "policy.d/*.yaml", "teams/**/*.yaml", "./teams/z/*.yml")
    config = folder.load()

    assert extra(config) == ["c", "a", "b", "top", "deeper", "yml"]
    assert config.include[0] == "policy.d/c.yaml"


def test_lists_are_appended(folder: Folder) -> None:
    """Agents of all files are one list, the main file's first, and each has its own file's line."""
    own = "\nagents:\n  - id: spiffe://corp.example/main\n    grants: [public]\n"
    folder.main += own
    folder.write("policy.d/z.yaml", own.replace("/main", "/z") + "    suspended: maybe\n")
    folder.include("policy.d/*.yaml")

    assert folder.problems() == [
        "policy.d/z.yaml:5: agents[0].suspended: must be true or false, not text",
    ]
    folder.write("policy.d/z.yaml", own.replace("/main", "/z"))
    ids = [agent.id.rpartition("/")[2] for agent in folder.load().agents]
    assert ids == ["main", "travel", "payments", "retired", "z"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "grants: {public: []}\n",
            "1: grants.public: public is already defined in policy.d/team.yaml:32",
        ),
        (
            "\nagents: [{id: TRAVEL, grants: [public]}]\n",
            "2: agents[0].id: TRAVEL is already defined in",
        ),
        (
            "routes: [{name: finance}]\n",
            "1: routes[0].name: finance is already defined in policy.d/team.yaml:2",
        ),
        (
            "issuers:\n- issuer: https://as.corp.example\n  audiences: [a]\n  keys: {file: /x}\n",
            (
                "2: issuers[0].issuer: https://as.corp.example is already defined in "
                "policy.d/team.yaml:4"
            ),
        ),
        ("agents: {}\n", "1: agents: must be a list"),
        ("grants: []\n", "1: grants: must be a mapping of names"),
        ("audit: {path: x}\n", "1: audit: an included file may hold only agents, grants, issuers"),
    ],
)
def test_two_files_that_disagree(folder: Folder, text: str, expected: str) -> None:
    """What stands in two files is an error in the second that names the first and its line."""
    folder.write("policy.d/x.yaml", text.replace("TRAVEL", TRAVEL))
    folder.include("policy.d/team.yaml", "policy.d/x.yaml")
    found = folder.problems()

    assert len(found) == 1
    assert found[0].startswith(f"policy.d/x.yaml:{expected.replace('TRAVEL', TRAVEL)}")


def test_all_files_are_reported(folder: Folder) -> None:
    """Problems of several files come together: the main file's first, then by name and line."""
    folder.main = folder.main.replace("drain: 5s", "drain: 5")
    folder.write("policy.d/a.yaml", "grants: {a: [{}]}\nagents: 5\n")
    folder.write("policy.d/b.yaml", "grants: {b: x}\n")
    folder.include("policy.d/b.yaml", "policy.d/*.yaml")
    places = [":".join(line.split(":")[:3]) for line in folder.problems()]

    assert places == [
        "authz.yaml:5: server.drain",
        "policy.d/a.yaml:1: grants.a[0].hosts",
        "policy.d/a.yaml:1: grants.a[0].methods",
        "policy.d/a.yaml:1: grants.a[0].paths",
        "policy.d/a.yaml:2: agents",
        "policy.d/b.yaml:1: grants.b",
    ]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("missing.yaml", "there is no file missing.yaml"),
        ("missing/*.yaml", "no file in "),
        ("policy.d/*.yml", "no file in "),
        ("policy.d", "policy.d is a folder: name its files, policy.d/*.yaml"),
        ("policy.d/", "is a folder"),
        ("p*d", "policy.d is a folder"),
        ("", "must be a path or a pattern, such as policy.d/*.yaml"),
        ("/", "must be a path or a pattern"),
        ("bad/*", "characters that can't be shown: "),
        ("/nowhere/*.yaml", "no file in "),
        ("../*/nothing.yaml", "no file in "),
        ("authz.yaml/x", "there is no file authz.yaml/x"),
        ("policy.d/team.yaml/*", "no file in "),
        ("dangling.yaml", "dangling.yaml can't be read: No such file"),
        ("pipe", "pipe is not a file that can be read"),
        ("a/" * 100 + "b", "must be a path or a pattern"),
    ],
)
def test_patterns_that_name_nothing(folder: Folder, pattern: str, expected: str) -> None:
    """A path or pattern that leads to no file is an error at its own line, and the only one."""
    (folder.path / "dangling.yaml").symlink_to("nowhere")
    os.mkfifo(folder.path / "pipe")
    folder.write("bad/line\nbreak.yaml", "")
    rest = folder.main.partition("\n")[2]
    folder.write("authz.yaml", f'include:\n  - policy.d/team.yaml\n  - "{pattern}"\n{rest}')
    found = folder.problems()

    assert len(found) == 1
    assert found[0].startswith("authz.yaml:3: include[1]: ")
    assert expected in found[0]


@given(
    st.text("abyml*?[]!-./\0\n", max_size=40).filter(lambda one: one[:1] != "/" and ".." not in one)
)
def test_any_pattern(folder: Folder, pattern: str) -> None:
    """Any pattern names files of the folder, or is a problem, never another error."""
    main = folder.path / "authz.yaml"
    found, problems = include_module.find(main, main.stat(), (pattern,))

    assert not (found and problems)
    assert set(found) <= {str(folder.path / "policy.d" / "team.yaml")}


def test_absolute_and_upward(folder: Folder) -> None:
    """A path from the root or upward is taken as it is written."""
    folder.grant("elsewhere/x.yaml", "x")
    folder.grant("elsewhere/y.yaml", "y")
    main = folder.path / "sub" / "authz.yaml"
    folder.include(f"{folder.path}/elsewhere/*.yaml", "../policy.d/*.yaml")
    main.parent.mkdir()
    (folder.path / "authz.yaml").rename(main)

    assert extra(load(main)) == ["x", "y"]


def test_the_shape_of_include(folder: Folder) -> None:
    """One path alone is an error that shows the list; what is no text is one too."""
    folder.write("authz.yaml", folder.main.replace("[policy.d/team.yaml]", "policy.d/team.yaml"))
    assert "include: must be a list, not text: write [policy.d/team.yaml]" in folder.problems()[0]

    with pytest.raises(ConfigError, match="read from a file can include"):
        load_text(folder.main.encode(), "f")


def test_what_is_passed_over(folder: Folder) -> None:
    """Hidden names, and the main file where a pattern fits it too, are no included files."""
    folder.write("policy.d/.hidden.yaml", "!")
    folder.write("policy.d/..data/team.yaml", "!")
    folder.write(".git/x.yaml", "!")
    folder.include("*.yaml", "**/*.yaml")

    assert len(folder.load().agents) == 3


def test_links_in_a_ring(folder: Folder) -> None:
    """Links to folders are followed, each folder once, so that a ring of them ends."""
    folder.grant("elsewhere/more.yaml", "more")
    (folder.path / "policy.d" / "linked").symlink_to(folder.path / "elsewhere")
    (folder.path / "elsewhere" / "back").symlink_to(folder.path / "policy.d")
    (folder.path / "policy.d" / "self").symlink_to(folder.path / "policy.d")
    folder.include("policy.d/**/*.yaml")

    assert extra(folder.load()) == ["more"]


def test_limits(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many files, bytes, or names to search are an error at the include."""
    folder.include("policy.d/*.yaml")
    monkeypatch.setattr(include_module, "MAX_FILES", 2)
    for name in ("a", "b"):
        folder.grant(f"policy.d/{name}.yaml", name)
    assert folder.problems() == ["authz.yaml:1: include[0]: more than 2 files"]
    monkeypatch.undo()
    monkeypatch.setattr(files_module, "MAX_BYTES", 1800)
    folder.write("policy.d/a.yaml", "#" * 1800)
    assert "larger than 1800 bytes" in folder.problems()[0]
    monkeypatch.undo()
    monkeypatch.setattr(include_module, "MAX_ENTRIES", 2)
    assert "more than 2 names to search" in folder.problems()[0]


def test_nothing_else_is_read(folder: Folder) -> None:
    """A broken file that no pattern names is nobody's business."""
    folder.write("policy.d/other.yml", "!")
    folder.write("authz.yaml.bak", "!")

    assert len(folder.load().agents) == 3


def test_unreadable(folder: Folder) -> None:
    """A file that can't be read is an error with its name, and looked at again by itself."""
    team = folder.path / "policy.d" / "team.yaml"
    team.unlink()
    team.symlink_to("/proc/self/mem")  # a plain file by its looks; even root can't read it
    files = ConfigFiles(folder.path / "authz.yaml")
    with pytest.raises(ConfigError, match=r"policy\.d/team\.yaml:1: can't be read: Input/output"):
        load(files)
    assert not files.changed()
    team.unlink()
    folder.write("policy.d/team.yaml", folder.team)
    assert files.changed()


@pytest.fixture
def watched(folder: Folder) -> ConfigFiles:
    """The folder's files, read once."""
    folder.include("policy.d/*.yaml")
    files = ConfigFiles(folder.path / "authz.yaml")
    load(files)
    return files


def test_no_change(folder: Folder, watched: ConfigFiles) -> None:
    """Nothing has changed, and a file written again with the same text is no change."""
    assert not watched.changed()
    folder.write("policy.d/team.yaml", folder.team)
    assert not watched.changed()
    folder.write("policy.d/team.txt", "fits no pattern")
    assert not watched.changed()


def test_changes(folder: Folder, watched: ConfigFiles) -> None:
    """A file that is changed, added, removed, replaced or gone is a change until it is read."""

    def is_noticed() -> bool:
        first, again = watched.changed(), watched.changed()
        load(watched)
        return first and again and not watched.changed()

    folder.write("policy.d/team.yaml", folder.team + "\n")
    assert is_noticed()
    folder.grant("policy.d/more.yaml", "aaaa")
    assert is_noticed()
    before = (folder.path / "policy.d" / "more.yaml").stat()
    folder.grant("policy.d/more.yaml", "bbbb")
    os.utime(folder.path / "policy.d" / "more.yaml", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert is_noticed(), "same size, same time, another text"
    folder.grant("new", "cccc")
    (folder.path / "new").rename(folder.path / "policy.d" / "more.yaml")
    assert is_noticed()
    (folder.path / "policy.d" / "more.yaml").unlink()
    assert is_noticed()
    folder.main += "\n"
    folder.include("policy.d/*.yaml")
    assert is_noticed()


def test_the_same_instant(tmp_path: Path) -> None:
    """Changes that come faster than the file system's clock ticks are noticed all the same."""
    (tmp_path / "authz.yaml").write_text("include: [more.yaml]")
    (tmp_path / "more.yaml").write_text("grants: {g0000: 1}")
    files = ConfigFiles(tmp_path / "authz.yaml")
    for round_ in range(1, 1000):
        files.read()
        (tmp_path / "more.yaml").write_text(f"grants: {{g{round_:04}: 1}}")
        assert files.changed()


def test_what_stat_says(folder: Folder, watched: ConfigFiles) -> None:
    """Stat is believed of a file that was old when it was read, until it says something else."""
    path = folder.path / "policy.d" / "team.yaml"

    def is_noticed(before: FileView) -> bool:
        watched._looks[str(path)] = before
        return watched.changed()

    other = replace(look(path, 10**6)[0], content=b"of another text")
    assert is_noticed(replace(other, is_settled=True)), "it is not read again"
    assert not is_noticed(other)
    before = path.stat()
    while path.stat().st_ctime_ns == before.st_ctime_ns:  # a tick of the file system's clock
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert not is_noticed(replace(other, is_settled=True)), "its time of change is another"


def test_broken_and_good_again(folder: Folder, watched: ConfigFiles) -> None:
    """A half-written file is an error once, not at every look, and its other half is noticed."""
    for half in (folder.team[:300], folder.team.replace("grants:", "grints:"), "\xff", "agents: ["):
        folder.write("policy.d/team.yaml", half)
        assert watched.changed()
        with pytest.raises(ConfigError):
            load(watched)
        assert not watched.changed()
    folder.write("policy.d/team.yaml", folder.team)
    assert watched.changed()
    load(watched)
    for name in ("authz.yaml", "policy.d/team.yaml"):
        (folder.path / name).rename(folder.path / "away")
        assert watched.changed()
        with pytest.raises(ConfigError):
            load(watched)
        assert not watched.changed()
        (folder.path / "away").rename(folder.path / name)
        assert watched.changed()
        load(watched)
    folder.write("authz.yaml", "include: [")
    with pytest.raises(ConfigError):
        load(watched)
    assert not watched.changed()
    folder.include("policy.d/*.yaml")
    assert watched.changed()
    load(watched)


@pytest.fixture
def resting(folder: Folder) -> ConfigFiles:
    """The folder's files, read once as a server reads them."""
    folder.include("policy.d/*.yaml")
    files = ConfigFiles(folder.path / "authz.yaml", must_rest=True)
    with pytest.raises(FilesChangingError, match=r"authz\.yaml:1: is being written, or a file"):
        load(files)
    assert files.changed()
    load_at_rest(files)
    assert not files.changed()
    return files


def test_files_are_taken_at_rest(folder: Folder, resting: ConfigFiles) -> None:
    """Whichever file is written, added or gone: the config is read a second later, not before."""
    more = folder.path / "policy.d" / "more.yaml"

    def is_taken_later(change: Callable[[], object]) -> bool:
        began = time.monotonic()
        change()
        assert resting.changed()
        try:
            load(resting)
        except FilesChangingError:
            assert resting.changed()
            load_at_rest(resting)
        assert not resting.changed()
        return time.monotonic() - began >= STABLE_SECONDS

    assert is_taken_later(lambda: folder.write("policy.d/team.yaml", folder.team + "#"))
    assert is_taken_later(lambda: folder.grant("policy.d/more.yaml", "more"))
    assert is_taken_later(more.unlink)
    folder.main += "#"
    assert is_taken_later(lambda: folder.include("policy.d/*.yaml"))
    folder.grant("new/more.yaml", "more")
    assert is_taken_later(lambda: folder.include("policy.d/*.yaml", "new/*.yaml"))


def test_a_file_that_is_written_again_and_again(folder: Folder, resting: ConfigFiles) -> None:
    """A writer who never rests keeps its halves from being read, and the waiting has an end."""
    config = load(resting)
    end = time.monotonic() + 2 * STABLE_SECONDS
    while time.monotonic() < end:
        written_at = time.monotonic()
        folder.write("policy.d/team.yaml", folder.team + "#" * random.randrange(99))
        assert is_refused(resting, written_at)
        time.sleep(0.1)
    assert load_at_rest(resting) == config


def is_refused(resting: ConfigFiles, written_at: float) -> bool:
    """Whether files that were written then are not read; or we stood still for so long."""
    try:
        load(resting)
    except FilesChangingError:
        return True
    return time.monotonic() - written_at >= STABLE_SECONDS


def test_a_config_that_never_rests_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is not taken, which is said once and counted; and taken when its writer is done."""
    monkeypatch.setattr(reload, "WAIT_SECONDS", 0.3)
    path = world.folder / "authz.yaml"
    path.write_text(world.config_text)
    taken: list[Config] = []

    def take(config: Config, _: object) -> str:
        taken.append(config)
        return world.parts.reconfigure(config)

    watched = reload.ConfigReload(reload.ConfigSource(path), take)
    for number in count():
        path.write_text(f"{world.config_text}# {number}\n")
        assert watched.look()
        if watched.status().refused:
            break
    assert watched.look()

    assert caplog.text.count("change during every read") == 1
    assert not taken
    wait_until(lambda: not watched.look())
    assert len(taken) == 1


def test_a_file_that_is_named_meanwhile(folder: Folder, resting: ConfigFiles) -> None:
    """A file that a changed config newly names is read at rest too, though nobody looked at it."""
    folder.include("policy.d/*.yaml", "new.yaml")
    begun = time.monotonic()
    while time.monotonic() < begun + 2 * STABLE_SECONDS:
        written_at = time.monotonic()
        folder.grant("new.yaml", "half")  # the same again, so that only its times tell
        assert is_refused(resting, written_at)
        time.sleep(0.1)
    assert extra(load_at_rest(resting)) == ["half"]


def test_a_pipe_is_for_one_reading(folder: Folder, tmp_path: Path) -> None:
    """A verb reads a config from a pipe, once; a server is refused, and doesn't wait for it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (folder.path / "authz.yaml").rename(tmp_path / "main.yaml")
    with pytest.raises(ConfigError, match="can't be read: it is not a plain file"):
        load(ConfigFiles(pipe, must_rest=True))
    threading.Thread(target=lambda: pipe.write_bytes((tmp_path / "main.yaml").read_bytes())).start()
    files = ConfigFiles(pipe)
    config = load(files)
    assert not files.changed()
    assert load(files) == config


class Mount:
    """A volume as Kubernetes mounts it: names link into ``..data``, which is swapped at once."""

    def __init__(self, path: Path) -> None:
        """Begin empty."""
        self._path = path
        self._number = 0
        path.mkdir()

    def swap(self, files: dict[str, str]) -> None:
        """Put all files in the place of those that are there."""
        self._number += 1
        data = self._path / f"..2026_{self._number}"
        data.mkdir()
        for name, text in files.items():
            (data / name).write_text(text)
        (self._path / "..tmp").symlink_to(data.name)
        (self._path / "..tmp").rename(self._path / "..data")
        for name in files:
            if not (self._path / name).is_symlink():
                (self._path / name).symlink_to(f"..data/{name}")
        for path in self._path.iterdir():
            if path.is_symlink() and not path.exists():
                path.unlink()


def test_kubernetes_swaps(tmp_path: Path) -> None:
    """A mounted volume's files are read through its links, and a swap of all is one change."""
    main, team = halves()
    mount = Mount(tmp_path / "mount")
    main = main.replace("policy.d/team.yaml", "'*.yaml'")
    mount.swap({"authz.yaml": main, "team.yaml": team})
    files = ConfigFiles(tmp_path / "mount" / "authz.yaml")
    assert extra(load(files)) == []
    assert not files.changed()
    more = f"grants: {{more: [{RULE}]}}\n"
    mount.swap({"authz.yaml": main, "team.yaml": team, "more.yaml": more})
    assert files.changed()
    assert extra(load(files)) == ["more"]
    mount.swap({"authz.yaml": main, "team.yaml": team})
    assert files.changed()
    assert extra(load(files)) == []


@pytest.fixture
def issuer() -> Iterator[tuple[Issuer, str]]:
    """An issuer, and where its keys are."""
    issuer = Issuer(ISSUER, AUDIENCE)
    jwks = JwksServer(issuer)
    yield issuer, f"{jwks.url}/jwks"
    jwks.close()


# The lab's config without the grant that a file of its own adds.
APART = LAB.without(("grants", "public")).with_keys(
    ("grants",), "x: [{hosts: ['*'], methods: [GET], paths: [/public/**], scopes: []}]"
)


def test_a_server_takes_an_included_file(tmp_path: Path, issuer: tuple[Issuer, str]) -> None:
    """A running server notices a file that is changed, broken, added and removed, by itself."""
    policy = tmp_path / "policy.d"
    policy.mkdir()

    def put(name: str, text: str) -> None:
        (tmp_path / "new").write_text(text)
        (tmp_path / "new").rename(policy / name)

    put("a.yaml", PUBLIC.format(host="old.example"))
    include = APART.with_(("include",), ["policy.d/*.yaml"])
    server = Server(tmp_path, "split", issuer[1], changes=include)
    svid = Authority(tmp_path / "pki").issue(TRAVEL)
    token = issuer[0].token(TRAVEL, scope=READ)
    message = check_request(svid, [("authorization", f"Bearer {token}")], host="new.example")
    try:
        server.wait_ready()
        with grpc.insecure_channel(f"unix:{server.socket}") as channel:
            check = channel.unary_unary(CHECK, None, pb.CheckResponse.FromString)

            def reason() -> str:
                return reason_of(check(message.SerializeToString(), timeout=60))

            def reloads() -> tuple[float, float]:
                name = 'authz_config_reloads_total{{result="{}"}}'.format
                return server.metric(name("taken")), server.metric(name("refused"))

            assert reason() == "policy_denied"
            put("a.yaml", PUBLIC.format(host="new.example"))
            wait_until(lambda: reason() == "allow")
            put("a.yaml", PUBLIC[:20])
            wait_until(lambda: reloads() == (1, 1))
            wait_until(lambda: NOT_YAML in server.process.log.read_text())
            assert server.metric("authz_config_refused") == 1
            assert reason() == "allow"
            put("a.yaml", PUBLIC.format(host="old.example"))
            wait_until(lambda: reason() == "policy_denied")
            assert server.metric("authz_config_refused") == 0
            put("b.yaml", MORE)
            wait_until(lambda: reloads() == (3, 1))
            (policy / "b.yaml").unlink()
            wait_until(lambda: reloads() == (4, 1))
            time.sleep(2.5)  # a few looks: each change is taken once
            assert reloads() == (4, 1)
    finally:
        server.process.stop()


def test_a_server_takes_a_candidate(tmp_path: Path, issuer: tuple[Issuer, str]) -> None:
    """A running server notices a change of its candidate, and of what that includes, by itself."""
    server = Server(tmp_path, "main", issuer[1])
    server.wait_ready()
    name = 'authz_config_reloads_total{{result="{}"}}'.format
    try:
        text = server.config.read_text()
        (tmp_path / "policy.d").mkdir()
        (tmp_path / "policy.d" / "a.yaml").write_text(PUBLIC.format(host="a.example"))
        candidate = tmp_path / "candidate.yaml"
        candidate.write_text(APART.with_(("include",), ["policy.d/*.yaml"]).edit(text))
        server.config.write_text(f"candidate: {candidate}\n{text}")
        wait_until(lambda: server.metric(name("taken")) == 1)
        (tmp_path / "policy.d" / "a.yaml").write_text(PUBLIC[:20])
        wait_until(lambda: server.metric(name("refused")) == 1)
        wait_until(lambda: NOT_YAML in server.process.log.read_text())
        (tmp_path / "policy.d" / "a.yaml").write_text(PUBLIC.format(host="b.example"))
        wait_until(lambda: server.metric(name("taken")) == 2)
        candidate.write_text("# gone\n")
        wait_until(lambda: server.metric(name("refused")) == 2)
        server.config.write_text(text)
        wait_until(lambda: server.metric(name("taken")) == 3)
        assert server.metric("authz_config_refused") == 0
    finally:
        server.process.stop()
