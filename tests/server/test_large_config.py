"""A config of 20,000 rules is read beside everything that goes on."""

import gc
import weakref
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from authz.config import ConfigFiles, load
from authz.edge.envoy.reader import read_check
from authz.server.giving_way import yielding_gil
from authz.wiring.policy import build_policy
from authz.wiring.policy_version import _NOT_POLICY, compute_policy_version
from authz.wiring.snapshot import Lookups, build_snapshot
from lab.config_builder import LAB, ConfigBuilder
from lab.mesh import TRAVEL
from support.serving import SECONDS, Serving
from support.verbs import edit
from support.world import World, check_request, wait_until

RULES = 20_000


def grants(count: int) -> ConfigBuilder:
    """Add so many rules to the lab's config; the travel agent holds them."""
    rules = "".join(
        f"g{number}:\n  - {{hosts: [h{number % 100}.corp.example], methods: [GET], "
        f'paths: [/finance/{number}/**], scopes: ["balance:read"]}}\n'
        for number in range(count)
    )
    names = ", ".join(f"g{number}" for number in range(count))
    more = LAB.with_keys(("grants",), rules)
    return more.with_items(("agents", TRAVEL, "grants"), f"[{names}]", before=2)


def test_a_revocation_counts_while_a_config_is_read(tmp_path: Path) -> None:
    """The reading of 20,000 rules keeps no revocation waiting, nor a scrape, nor liveness."""
    with Serving(tmp_path) as serving:
        serving.read_until("serving")
        assert serving.ask() == "allow"
        serving.write_config(grants(RULES))
        wait_until(lambda: serving.metric('authz_idle_seconds{part="config"}') > 1.5)
        serving.revoke()
        serving.until("agent_suspended")

        assert serving.metric('authz_config_reloads_total{result="taken"}') == 0, "still reading"
        assert serving.get("/healthz")[0] == 200
        wait_until(
            lambda: serving.metric('authz_config_reloads_total{result="taken"}') == 1, 3 * SECONDS
        )
        assert serving.ask() == "agent_suspended"


@pytest.fixture
def large(tmp_path: Path) -> Iterator[tuple[World, Path]]:
    """A world, and a config file of 2,000 rules."""
    with World(tmp_path) as world:
        path = tmp_path / "large.yaml"
        path.write_text(grants(2000).edit(world.config_text))
        yield world, path


def test_a_config_is_freed_without_the_collector(large: tuple[World, Path]) -> None:
    """A config that is replaced holds no ring: frozen objects would stay in memory for good."""
    world, path = large
    gc.collect()
    gc.disable()
    try:
        config = load(ConfigFiles(path))
        policy = build_policy(config)
        snapshot = build_snapshot(config, Lookups(world.keys), world.revocations, candidate=config)
        left: list[Callable[[], object]] = [weakref.ref(policy), weakref.ref(snapshot.authorizer)]
        del config, policy, snapshot
        assert [one() for one in left] == [None, None]
    finally:
        gc.enable()


def test_nothing_of_a_config_that_is_replaced_stays(large: tuple[World, Path]) -> None:
    """Nor do the parts of its snapshot, with a decision point, conditions, and routes in use."""
    world, path = large
    parts = LAB.with_section("pdp", "{url: 'http://127.0.0.1:9/evaluation', insecure: true}")
    edit(path, parts.with_(("grants", "g1", 0, "when"), 'request.host == "a"'))

    def use() -> None:
        config = load(ConfigFiles(path))
        snapshot = build_snapshot(config, Lookups(world.keys), world.revocations, candidate=config)
        read_check(snapshot.inputs, check_request(world.svid, []), "")
        assert config.routes
        assert snapshot.decision_point

    use()
    gc.collect()
    gc.disable()
    try:
        use()
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        assert [type(one) for one in gc.garbage] == []
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def test_no_collection_of_all_objects_meanwhile(large: tuple[World, Path]) -> None:
    """The collector's third generation rests while a config is read, and passes it afterwards."""
    _, path = large
    generations: list[int] = []
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    watch = lambda phase, info: generations.append(info["generation"])  # noqa: E731, ARG005 - as gc calls it
    try:
        with yielding_gil():
            gc.callbacks.append(watch)
            config = load(ConfigFiles(path))
            gc.callbacks.remove(watch)
        assert set(generations) == {0, 1}
        assert gc.get_threshold() == before
        assert gc.get_freeze_count() - frozen > 2000
        assert len(config.grants) > 2000
    finally:
        gc.unfreeze()


def test_the_version_is_that_of_the_whole(large: tuple[World, Path]) -> None:
    """Made in pieces, it is the hash of the same JSON as if made at once."""
    for config in (load(ConfigFiles(large[1])), large[0].config):
        whole = sha256(config.model_dump_json(exclude=_NOT_POLICY).encode()).hexdigest()

        assert whole.startswith(compute_policy_version(config))
