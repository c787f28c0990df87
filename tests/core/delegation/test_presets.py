"""The kinds of issuers: settings that are known of a product, and can be overridden."""

from typing import Any

import pytest

from authz.config import Config, ConfigError, load_text
from authz.core.delegation.presets import PRESETS
from authz.core.delegation.settings import IssuerSettings
from authz.core.issuer_kind import IssuerKind
from lab.config_builder import AT_ISSUER, LAB, ConfigBuilder
from lab.mesh import TRAVEL
from support.world import World

# What installations differ in, and so no preset may say.
OF_INSTALLATIONS = {"issuer", "keys", "audiences", "proof", "accept_unchecked", "actors_from"}


def of_kind(world: World, kind: str, changes: ConfigBuilder = LAB) -> IssuerSettings:
    """Return the settings of an issuer of a kind, which says nothing else of its tokens."""
    without = changes.without((*AT_ISSUER, "algorithms")).with_((*AT_ISSUER, "kind"), kind)
    config: Config = load_text(without.edit(world.config_text).encode(), "f.yaml")
    return config.issuers[0]


@pytest.mark.parametrize("kind", IssuerKind)
def test_a_kind_sets_its_lines(shared_world: World, kind: IssuerKind) -> None:
    """All of them, as if they were written in the config, and what is not of the product never."""
    lines = dict(PRESETS[kind].lines)
    assert not OF_INSTALLATIONS & lines.keys()
    by_hand = LAB.without((*AT_ISSUER, "algorithms"))
    for name, value in lines.items():
        by_hand = by_hand.with_((*AT_ISSUER, name), value)
    config = load_text(by_hand.edit(shared_world.config_text).encode(), "f.yaml")

    found = of_kind(shared_world, kind.value)
    assert found == config.issuers[0].model_copy(update={"kind": kind})


def test_every_line_can_be_set_otherwise(shared_world: World) -> None:
    """One by one, within ``actor`` too; the others stay."""
    changes = LAB.with_keys(AT_ISSUER, f"{{scope_claim: scope, actor: {{map: {{a: '{TRAVEL}'}}}}}}")
    found = of_kind(shared_world, "entra", changes)

    assert (found.scope_claim, found.typ) == ("scope", ("JWT",))
    assert (found.actor.claim, found.actor.map) == (("azp", "appid"), {"a": TRAVEL})


@pytest.mark.parametrize("kind", ["Keycloak", "", 7, ["keycloak"], {"a": 1}])
def test_an_unknown_kind_is_named(shared_world: World, kind: Any) -> None:
    """With its line, and the kinds that there are."""
    text = LAB.with_((*AT_ISSUER, "kind"), kind).edit(shared_world.config_text)
    with pytest.raises(ConfigError, match=r"issuers\[0\].kind.*keycloak"):
        load_text(text.encode(), "f.yaml")
