"""``authz token check`` and ``authz preset``: what they say, and what they never say."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.core.delegation import IssuerSettings
from authz.core.delegation.presets import PRESETS
from authz.core.issuer_kind import IssuerKind
from lab.config_builder import AT_ISSUER, LAB
from lab.issuer import Issuer, JwksServer, sign_json
from lab.mesh import AUDIENCE, ISSUER, PAYMENTS, TRAVEL
from support.canary import anchors, canary, leaks
from support.status_server import StatusServer
from support.verbs import URL, edit, run
from support.world import READ

KEYS: Final = (*AT_ISSUER, "keys")
OWN: Final = "[{name: own, paths: [/own/**], modes: [autonomous]}]"
Said = tuple[int, str, str]
Say = Callable[..., Said]


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    """An issuer whose keys are in the config's file."""
    return Issuer(ISSUER, AUDIENCE)


@pytest.fixture
def say(config: Path, tmp_path: Path, issuer: Issuer, capsys: pytest.CaptureFixture[str]) -> Say:
    """Check a token by the lab's config, the issuer's keys in a file."""
    keys = tmp_path / "jwks.json"
    keys.write_bytes(issuer.jwks())
    edit(config, LAB.with_(KEYS, {"file": str(keys)}))

    def check(token: str, *flags: str) -> Said:
        path = tmp_path / "token.jwt"
        path.write_text(token)
        status = run("token", "check", str(config), str(path), *flags)
        said = capsys.readouterr()
        canary.note("output", (said.out + said.err).encode())
        return status, said.out, said.err

    return check


def test_an_accepted_token(say: Say, issuer: Issuer, config: Path) -> None:
    """Status 0, with the file and line of the issuer, the agent, each route and its mode."""
    status, out, _ = say(issuer.token(TRAVEL, scope="a b"))
    line = config.read_text().splitlines().index("- issuer: https://as.corp.example") + 1

    assert status == 0
    assert f"{config}:{line}: issuer {ISSUER}: accepts it\n" in out
    assert f"  agent: {TRAVEL}\n  route finance: counts, as act\n" in out
    assert "signature: verified" in out
    assert out.endswith("\naccepted.\n")
    assert "  scope      a b\n" in out
    assert "alice" not in out
    assert "not shown: sub, jti\n" in out
    assert '"alice"' in say(issuer.token(TRAVEL), "--show-claims", "--json")[1]


def test_all_that_is_wrong(say: Say, issuer: Issuer) -> None:
    """Each refusal is told, those that hide behind others too, each with its line or why none."""
    token = issuer.token(
        TRAVEL,
        scope="a",
        header={"typ": "JWT"},
        aud="https://other.example",
        act=None,
        azp="travel-agent",
        exp=issuer.claims("", "", "")["iat"] - 7200,
        iat=issuer.claims("", "", "")["iat"] - 7300,
    )
    status, out, _ = say(token)

    assert status == 1
    assert "(2 h ago)" in out
    for line in (
        "token_typ: its typ is not one of the issuer's types",
        "typ: [at+jwt, JWT]",
        "token_audience: its aud does not name any of the issuer's audiences",
        'audiences: ["https://mcp.corp.example/finance", "https://other.example"]',
        "token_expired: its exp has passed",
        "nothing here should take it: get a new token",
        "actor_missing: it has no act claim",
        'actor: {claim: azp, map: {travel-agent: "spiffe://corp.example/put-the-agent-here"}}',
    ):
        assert line in out


def test_the_lines_are_enough(say: Say, issuer: Issuer, config: Path) -> None:
    """A token is accepted once the lines that were told for it are in the issuer's block."""
    changes: dict[str, Any] = {"act": None, "azp": "travel-agent", "sub": "alice", "scope": None}
    token = issuer.token(TRAVEL, header={"typ": "JWT"}, scp=["a"], **changes)
    status, out, _ = say(token, "--json", "--agent", TRAVEL)
    (found,) = json.loads(out)["issuers"]
    assert status == 1
    for fault in found["faults"]:
        edit(config, LAB.with_keys(AT_ISSUER, fault["add"]))

    assert say(token)[0] == 0


def test_what_nothing_should_take(say: Say, issuer: Issuer) -> None:
    """No line is told for a token of another kind, another agent's or with a wrong signature."""
    for flags, changes, words in (
        ((), {"header": {"typ": "JWT"}, "nonce": "n"}, "it is no access token"),
        (("--agent", PAYMENTS), {}, "it is another agent's token; or actor.map"),
        ((), {"key": Issuer(ISSUER, AUDIENCE).current}, "another issuer made it"),
    ):
        status, out, _ = say(issuer.token(TRAVEL, scope="a", **changes), *flags)

        assert status == 1
        assert f"nothing here should take it: {words}" in out
        assert "would be taken with" not in out
    head, payload, signature = issuer.token(TRAVEL, scope="a").split(".")
    assert "token_signature" in say(f"{head}.{payload}.{signature[:-6]}AAAAAA")[1]


def test_a_map_without_its_claim(say: Say, issuer: Issuer, config: Path) -> None:
    """Where a value stands for an agent already, only the claim's name is told."""
    edit(config, LAB.with_((*AT_ISSUER, "actor"), {"map": {"travel-agent": TRAVEL}}))
    status, out, _ = say(issuer.token(TRAVEL, act=None, azp="travel-agent", scope="a"))

    assert status == 1
    assert "would be taken with:\n      actor: {claim: azp}\n" in out


def test_an_audience_that_is_missing(say: Say, issuer: Issuer) -> None:
    """A token without aud is not said to be for another; Cognito's client is named as such."""
    missing = say(issuer.token(TRAVEL, aud=None, scope="a"))[1]
    assert "token_audience: it has no aud\n" in missing
    plain = say(issuer.token(TRAVEL, aud=None, scope="a", header={"typ": None}))[1]
    assert "it has no aud, and its client_id, which stands for it, is not one of" in plain


def test_the_audience_of_the_issuers_own_api(say: Say, issuer: Issuer) -> None:
    """Nobody is led to list the Kubernetes API server's audience, which every pod's token has."""
    own: dict[str, Any] = {
        "sub": "system:serviceaccount:agents:travel",
        "act": None,
        "client_id": None,
    }
    out = say(issuer.token(TRAVEL, aud=ISSUER, header={"typ": None}, **own))[1]

    assert "nothing here should take it: it is for another service" in out
    assert f"audiences: [{ISSUER}" not in out
    assert ISSUER not in out.partition("would be taken with")[2]


def test_a_clients_own_token(say: Say, issuer: Issuer, config: Path) -> None:
    """It is said which routes would take it, and on which of those that there are it counts."""
    token = issuer.token(TRAVEL, TRAVEL, act=None)
    status, out, _ = say(token)
    assert status == 1
    assert "principal_required" in out
    assert "a route with modes: [autonomous] would take it" in out

    edit(config, LAB.with_routes(OWN))
    status, out, _ = say(token)
    assert status == 0
    assert "  route own: counts, as autonomous\n" in out
    assert "  route finance: principal_required: " in out
    assert say(token, "--route", "finance")[0] == 1
    assert say(token, "--route", "own")[0] == 0


def test_a_revoked_token(say: Say, issuer: Issuer, config: Path, tmp_path: Path) -> None:
    """The revocation file counts too."""
    revoked = tmp_path / "revoked.jsonl"
    revoked.write_text(json.dumps({"issuer": ISSUER, "token_id": "t-1"}) + "\n")
    edit(config, LAB.with_section("revocations", f"{{file: {revoked}}}"))

    assert say(issuer.token(TRAVEL, scope="a"))[0] == 0
    status, out, _ = say(issuer.token(TRAVEL, scope="a", jti="t-1"))
    assert status == 1
    assert "token_revoked: its jti was revoked" in out


def test_another_issuers_token(say: Say, issuer: Issuer) -> None:
    """Of an issuer that did not make it a line says why, and how near it is."""
    for name, words in (
        ("https://other.example", "not this one: iss differs\n"),
        (f"{ISSUER}/", f"iss differs; it is {ISSUER}/, and is compared byte for byte"),
        (None, "the token has no iss"),
    ):
        status, out, _ = say(issuer.token(TRAVEL, iss=name))

        assert status == 1
        assert words in out
        assert "token_issuer" in out


def test_keys_that_are_elsewhere(say: Say, issuer: Issuer, config: Path) -> None:
    """Keys are fetched, unless --offline; a signature that was not verified is never accepted."""
    token = issuer.token(TRAVEL, scope="a")
    server = JwksServer(issuer)
    edit(config, LAB.with_(KEYS, {"jwks_uri": f"{server.url}/jwks", "insecure": True}))
    assert say(token)[0] == 0

    fetches = server.fetches
    status, out, _ = say(token, "--offline")
    assert status == 1
    assert server.fetches == fetches
    assert "signature: NOT VERIFIED: --offline" in out
    assert "not verified: it would count if its signature is good." in out
    server.close()
    status, out, _ = say(token)
    assert status == 1
    assert "signature: NOT VERIFIED: " in out


def test_where_a_token_is_read_from(
    say: Say,
    issuer: Issuer,
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """From a file or standard input, with or without its scheme, and space around it."""
    token = issuer.token(TRAVEL, scope="a")
    assert say(f"  Bearer {token}\n\n")[0] == 0
    assert say(f"dpop {token}")[0] == 0
    for words in (("-",), ()):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(token.encode())))
        assert run("token", "check", str(config), *words) == 0
    capsys.readouterr()


@pytest.mark.parametrize("form", ["{}", "Bearer {}", "bearer", "--token={}", "--route={}"])
def test_no_token_in_the_arguments(
    form: str, issuer: Issuer, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A token in the arguments is refused with why, and its text is not repeated."""
    token = issuer.token(TRAVEL)
    word = form.format(token)
    for words in (
        ("check", str(config), word),
        ("check", word),
        (word,),
        ("check", "a", "b", word),
    ):
        assert run("token", *words) == 2
        said = capsys.readouterr()

        assert "an argument looks like a token" in said.err
        assert "a file or on standard input" in said.err
        assert not leaks((said.out + said.err).encode(), anchors([token]))


def test_an_opaque_token_in_the_arguments(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that can't be read may be an opaque token: its name is not repeated either."""
    assert run("token", "check", str(config), "s3cr3t-0paque") == 2
    said = capsys.readouterr()
    assert "FILE can't be read: No such file or directory" in said.err
    assert "s3cr3t" not in said.out + said.err


def test_a_token_in_the_place_of_the_config(
    issuer: Issuer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is wrong with the config is told without the text of the file."""
    path = tmp_path / "token.jwt"
    token = issuer.token(TRAVEL)
    for text in (token, f"Bearer: {token}", f"[{token}", f"'{token}"):
        path.write_text(text)
        assert run("token", "check", str(path)) == 2
        said = capsys.readouterr()

        assert "token.jwt:1" in said.err
        assert not leaks((said.out + said.err).encode(), anchors([token]))


def test_tokens_that_are_no_jwt(say: Say) -> None:
    """What only an issuer can tell is said to be so; other texts are malformed."""
    for text, words in (
        ("s3cr3t-0paque-t0ken", "it is opaque, and not a signed JWT"),
        ('{"access_token": "eyJh.eyJp.s3cr3t"}', "it is JSON: take the value of access_token"),
        ("a.b.c.d.e", "it is encrypted (JWE)"),
        ("", "there is no token"),
        ("\n", "there is no token"),
        ("a.b.c", "token_malformed"),
        ("x" * 9000 + ".b.c", "token_too_large"),
        ("\xff\xfe.\x00.c", "token_malformed"),
    ):
        status, out, _ = say(text)

        assert status == 1
        assert words in out
        assert "s3cr3t" not in out
        assert json.loads(say(text, "--json")[1])["accepted"] is False


def test_mistakes_of_usage(say: Say, issuer: Issuer, config: Path) -> None:
    """An unknown route, an agent that is none and a wrong config are status 2."""
    token = issuer.token(TRAVEL)
    assert say(token, "--route", "nowhere")[::2] == (
        2,
        "authz: no route 'nowhere' in the config; its routes: finance\n",
    )
    assert say(token, "--agent", "travel")[0] == 2
    config.write_text(config.read_text().replace("trust_domains", "trust_domians"))
    status, _, err = say(token)
    assert status == 2
    assert f"{config}:" in err


def test_json_has_a_stable_shape(say: Say, issuer: Issuer) -> None:
    """The members are always the same, whatever the token is."""
    shapes = []
    for token in (issuer.token(TRAVEL), issuer.token(TRAVEL, iss="x"), "opaque"):
        said = json.loads(say(token, "--json", "--suggest")[1])
        shapes.append(list(said))
        for one in said["issuers"]:
            assert list(one) == [
                *("issuer", "place", "accepts", "not_this_one", "agent", "signature", "status"),
                *("faults", "own", "routes"),
            ]

    assert shapes == [
        ["accepted", "unread", "header", "claims", "issuers", "suggestion"],
    ] * len(shapes)


JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=5,
)
NAMES: Final = st.sampled_from(
    ["iss", "sub", "aud", "exp", "iat", "nbf", "azp", "client_id", "cid", "act", "scope", "x\x1b"]
)


@settings(max_examples=25)  # each of them loads a config twice
@given(
    st.dictionaries(NAMES, JSON, max_size=6),
    st.dictionaries(st.sampled_from(["typ", "kid", "crit", "x5c"]), JSON),
    st.sampled_from(["azp", "kid", "act", "aud", "iss", "other"]),
)
def test_no_output_holds_a_token(
    say: Say, issuer: Issuer, claims: dict[str, Any], header: dict[str, Any], place: str
) -> None:
    """No report holds a part of the token or of one inside it, whatever its claims are."""
    inner = issuer.token(TRAVEL)
    made = {**issuer.claims(TRAVEL, "alice", "a"), **claims, place: inner}
    kid = inner if place == "kid" else issuer.current.key_id
    token = sign_json(issuer.current, {"alg": "ES256", "typ": "JWT", "kid": kid, **header}, made)
    known = anchors([token, inner])
    for flags in (("--show-claims", "--suggest"), ("--show-claims", "--suggest", "--json")):
        status, out, err = say(token, "--agent", TRAVEL, *flags)

        assert status in (0, 1)
        assert not leaks((out + err).encode(), known)
        assert "\x1b" not in out + err


@pytest.mark.parametrize("kind", IssuerKind)
def test_presets_can_be_pasted(kind: IssuerKind, capsys: pytest.CaptureFixture[str]) -> None:
    """What a kind stands for, written out, makes the same settings as the kind."""
    assert run("preset", str(kind)) == 0
    printed = capsys.readouterr().out
    lines = yaml.safe_load(printed)
    least = {"issuer": "https://i.example", "keys": {"file": "k"}, "audiences": ("a",)}
    pasted: dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v for name, v in lines.items()
    }
    claim = pasted["actor"]["claim"]
    pasted["actor"] = {"claim": tuple(claim) if isinstance(claim, list) else claim}
    by_kind = IssuerSettings.model_validate({**least, "kind": str(kind)})

    assert IssuerSettings.model_validate({**least, **pasted}) == by_kind.model_copy(
        update={"kind": None}
    )
    assert PRESETS[kind].own in printed
    assert run("preset", str(kind), "--json") == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert told[kind.value]["lines"] == lines


def test_a_preset_that_is_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    """The kinds are listed as a config names them."""
    with pytest.raises(SystemExit):
        run("preset", "azure")
    told = capsys.readouterr().err
    assert "invalid choice: 'azure'" in told
    assert "'keycloak', 'entra'" in told
    assert "IssuerKind" not in told


def test_all_presets(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a name every kind is printed."""
    assert run("preset") == 0
    printed = capsys.readouterr().out
    assert all(f"# kind: {kind} stands for" in printed for kind in IssuerKind)


def test_an_opaque_token_that_an_issuer_knows(say: Say, config: Path) -> None:
    """It is said which issuer would be asked about it; nobody is."""
    endpoint = "https://as.corp.example/introspect"
    edit(config, LAB.with_((*AT_ISSUER, "introspection"), {"url": endpoint}))
    status, out, _ = say("s3cr3t-0paque-t0ken")

    assert status == 1
    assert out.startswith("status_unavailable: it is opaque: this verb asks nobody")
    assert f"authz explain --token-file asks {ISSUER}" in out
    assert "s3cr3t" not in out


def test_a_status_list(say: Say, issuer: Issuer, config: Path, tmp_path: Path) -> None:
    """The list that a token names is fetched, and says whether the token counts."""
    with StatusServer(tmp_path / "status") as server:
        token = issuer.token(TRAVEL, scope=READ, status=server.status(5))
        assert "accept_unchecked: [status]" in say(token)[1]
        edit(config, LAB.with_((*AT_ISSUER, "status_list"), server.settings()))
        found = []
        for number in (0, 1, 2):
            server.publish(issuer, [number] * 16)
            status, out, _ = say(token)
            told = next(line for line in out.splitlines() if line.startswith("  status: "))
            found.append((status, told.removeprefix("  status: ")))
        assert found == [
            (0, "valid, by its status list"),
            (1, "refused: its status list says that it was revoked"),
            (1, "refused: its status list says that it is suspended"),
        ]
        assert "token_revoked" in out
        status, offline, _ = say(token, "--offline")
        assert status == 1
        assert f"  status: NOT LOOKED UP: --offline, and the list is at {server.uri()}" in offline
        forged = say(f"{token[:-8]}AAAAAAAA")[1]
        assert "  status: NOT LOOKED UP: its signature was not verified" in forged
        elsewhere = issuer.token(TRAVEL, status=server.status(5, "../x"))
        assert "at none of status_list.uris" in say(elsewhere)[1]
        server.publish(issuer, [])
        assert "its idx is not in its status list" in say(token)[1]
        server.http.paths.clear()
        status, out, _ = say(token)
        assert "  status: UNKNOWN: the status list" in out
        assert "not verified: it would count if its status is good." in out
        assert status == 1, "a server refuses it with status_unavailable"


def test_explain_with_a_status_list(
    config: Path, issuer: Issuer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Explain fetches the list that a token names, as the server does."""
    keys, path = tmp_path / "jwks.json", tmp_path / "token.jwt"
    keys.write_bytes(issuer.jwks())
    with StatusServer(tmp_path / "status") as server:
        lists = LAB.with_((*AT_ISSUER, "status_list"), server.settings())
        edit(config, lists.with_(KEYS, {"file": str(keys)}))
        path.write_text(issuer.token(TRAVEL, scope=READ, status=server.status(5)))
        of_agent = ("--agent", TRAVEL, "--token-file", str(path))
        asked = ("explain", str(config), "GET", URL, *of_agent)
        told = []
        for number in (0, 2):
            server.publish(issuer, [number] * 16)
            run(*asked)
            told.append(capsys.readouterr().out)
        server.http.paths.clear()
        run(*asked)
        told.append(capsys.readouterr().out)
    assert "\nALLOW" in told[0]
    assert "token_revoked: its status list says that it is suspended" in told[1]
    assert "status_unavailable: " in told[2]
    assert "status 404" in told[2]


def test_a_status_list_that_is_never_fetched(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A place where clouds keep secrets fails the check, unless the config opens that door."""
    lists = {"uris": ["https://as.corp.example/1", "https://169.254.169.254/*"]}
    edit(config, LAB.with_((*AT_ISSUER, "status_list"), lists))
    assert run("check", str(config)) == 1
    said = capsys.readouterr().err
    assert "issuers[0].status_list.uris[1]: a link-local, metadata or multicast address" in said
    edit(config, LAB.with_((*AT_ISSUER, "status_list", "allow_any_address"), True))
    run("check", str(config))
    assert "multicast" not in capsys.readouterr().err
