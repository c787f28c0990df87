"""Warnings of `authz check` about the token service, and what a start of it could not use."""

from collections.abc import Iterator

import pytest

from authz.cli import main
from authz.config import load
from authz.review.config_check import sts_lint
from authz.review.config_check.address_lint import address_warnings
from authz.review.config_check.sts_lint import sts_warnings
from lab.config_builder import LAB, ConfigBuilder
from lab.mesh import ISSUER, RETIRED, STRANGER, TRAVEL
from support.sts_server import STS, TokenServiceWorld

ADMIN = ("sts", "admin", "listen")
_OWN = f"- {{issuer: {STS}, keys: {{jwks_uri: {STS}/jwks.json}}, audiences: [{STS}]}}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenServiceWorld]:
    """The files of a token service whose own issuer is listed."""
    changes = LAB.with_items(("issuers",), _OWN, before=1)
    with TokenServiceWorld(tmp_path_factory.mktemp("sts"), changes) as made:
        yield made


def _places(world: TokenServiceWorld, changes: ConfigBuilder) -> list[tuple[str | int, ...]]:
    world.write_config(changes)
    return [place for place, _ in sts_warnings(load(world.config_path))]


def test_a_good_config_has_no_warnings(world: TokenServiceWorld) -> None:
    """Nor one without the section."""
    assert _places(world, LAB) == []
    assert _places(world, LAB.without(("sts",))) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("rules", 0, "agents"), [STRANGER]),
        (("rules", 0, "agents"), [RETIRED]),
        (("rules", 1, "via"), [STRANGER]),
        (("rules", 1, "scopes"), ["no:such"]),
    ],
)
def test_a_rule_that_gives_nothing(
    world: TokenServiceWorld, path: tuple[str | int, ...], value: list[str]
) -> None:
    """Its agents or actors are unknown or suspended, or no grant names its scope."""
    assert _places(world, LAB.with_(("sts", *path), value)) == [("sts", *path, 0)]
    assert _places(world, LAB.with_(("sts", *path), [*value, TRAVEL])) in (
        [("sts", *path, 0)],
        [("sts", *path, 0), ("sts", *path, 1)],  # as a scope it is unknown as well
    )


@pytest.mark.parametrize(("rest", "expected"), [({}, [ADMIN]), ({"exposed": True}, [])])
def test_an_admin_address_that_others_reach(
    world: TokenServiceWorld, rest: dict[str, bool], expected: list[tuple[str, ...]]
) -> None:
    """As the server's: it has no authentication, and pods' probes need it."""
    world.write_config(LAB.with_(("sts", "admin"), {"listen": "0.0.0.0:9195", **rest}))

    assert [place for place, _ in address_warnings(load(world.config_path))] == expected


def test_tokens_for_whoever_has_them(world: TokenServiceWorld) -> None:
    """bind: none is a door that was opened."""
    assert _places(world, LAB.with_(("sts", "bind"), "none")) == [("sts", "bind")]


def test_tokens_that_the_server_refuses(world: TokenServiceWorld) -> None:
    """Without an entry of issuers nobody accepts the tokens."""
    assert _places(world, LAB.without(("issuers", 1))) == [("sts", "issuer")]


@pytest.mark.parametrize(
    ("key", "value", "of_sts"),
    [
        ("max_actors", 3, {}),
        ("max_lifetime", "4m", {}),
        ("typ", ["JWT"], {}),
        ("scope_claim", "scp", {}),
        ("proof", "required", {"bind": "none"}),
    ],
)
def test_an_entry_of_its_own_that_fits_not(
    world: TokenServiceWorld, key: str, value: object, of_sts: dict[str, str]
) -> None:
    """What its entry of issuers does not accept, the server refuses."""
    changes = LAB.with_(("issuers", 1, key), value)
    for name, other in of_sts.items():
        assert ("issuers", 1, key) not in _places(world, changes)
        changes = changes.with_(("sts", name), other)
    assert ("issuers", 1, key) in _places(world, changes)


def test_id_tokens_that_no_rule_takes(world: TokenServiceWorld) -> None:
    """A rule takes an ID token only if it lists its client."""
    taken = [{"issuer": ISSUER, "client_ids": ["webapp", "shop"]}]
    changes = LAB.with_(("sts", "id_tokens"), taken).with_(
        ("sts", "rules", 0, "subject_audiences"), ["webapp"]
    )
    assert _places(world, changes) == [("sts", "id_tokens", 0, "client_ids", 1)]


def test_files_that_it_can_not_use(
    world: TokenServiceWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    """`authz check` reads certificate, key and CA as a start does, and names the setting."""
    other = world.authority.issue(TRAVEL)
    world.write_config(LAB.with_(("sts", "tls", "private_key"), str(other.key_path)))
    assert main(["check", str(world.config_path)]) == 1
    assert "sts.tls" in capsys.readouterr().err
    nothing = world.folder / "empty.pem"
    nothing.touch()
    world.write_config(LAB.with_(("sts", "tls", "client_ca"), str(nothing)))
    assert main(["check", str(world.config_path)]) == 1
    assert "client_ca" in capsys.readouterr().err


def test_an_address_that_is_taken(
    world: TokenServiceWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two parts can't have one address, be they of two processes of one machine."""
    world.write_config(
        LAB.with_(("sts", "listen"), "127.0.0.1:9443").with_(
            ("sts", "admin", "listen"), "127.0.0.1:9443"
        )
    )
    assert main(["check", str(world.config_path)]) == 1
    assert "sts.listen already takes it" in capsys.readouterr().err


def test_without_the_extra(world: TokenServiceWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told before `authz sts` can't start for it."""
    world.write_config()
    config = load(world.config_path)
    monkeypatch.setattr(sts_lint, "find_spec", lambda _: None)
    (warning,) = sts_warnings(config)
    assert warning[0] == ("sts",)
    assert "the extra sts, which is not installed" in warning[1]


@pytest.mark.parametrize("flags", [[], ["--elsewhere"]])
def test_a_key_that_a_start_makes(
    world: TokenServiceWorld, capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    """Nobody has to put it there; the folder that it is made in has to be there."""
    world.write_config()
    assert main(["check", *flags, str(world.config_path)]) == 0
    assert "sts.pem" not in capsys.readouterr().err
    world.write_config(LAB.with_(("sts", "make"), f"{world.folder}/none/sts.pem"))
    assert main(["check", *flags, str(world.config_path)]) == 0
    assert f"sts.make: there is no folder {world.folder}/none" in capsys.readouterr().err


def test_a_made_key_that_is_none(
    world: TokenServiceWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    """A start would take what is there, and so does the check."""
    key = world.folder / "none.pem"
    key.write_text("no key")
    world.write_config(LAB.with_(("sts", "make"), str(key)))
    assert main(["check", str(world.config_path)]) == 1
    assert f"sts.make: {key} holds no PEM" in capsys.readouterr().err


def test_keys_and_names_of_two_kinds_of_tokens(
    world: TokenServiceWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    """Assertions and delegation tokens have keys, and issuers, of their own."""
    mine = {"issuer": "https://authz.corp.example", "insecure": True, "make": "own.pem"}
    for changes, told in (
        ({}, ""),
        ({"make": f"{world.folder}/../{world.folder.name}/sts.pem"}, "sts.make: assertions are"),
        ({"issuer": STS}, "assertions.issuer: tokens have the same issuer"),
        ({"issuer": ISSUER}, "assertions.issuer: tokens have the same issuer"),
    ):
        world.write_config(LAB.with_(("assertions",), mine | changes))
        assert main(["check", str(world.config_path)]) == 0
        said = capsys.readouterr().err
        assert told in said
        assert ("the same issuer" in said) + ("signed with it too" in said) == bool(told)
