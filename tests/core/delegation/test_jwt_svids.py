"""JWT-SVIDs as SPIRE mints them: each is its workload's own token, by its trust domain's bundle."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from authz._pb import ext_authz_pb2 as pb
from authz.config import ConfigError, load_text
from lab.config_builder import AT_ISSUER, AT_PUBLIC_RULE, LAB
from lab.issuer import SigningKey, make_key, sign_raw
from lab.mesh import AUDIENCE, PAYMENTS, TRAVEL
from support.world import World, check_request, header_of, reason_of

DOMAIN, PARTNER = "corp.example", "partner.example"
SPIRE, OF_PARTNER = "https://spire.corp.example", "https://spire.partner.example"
PARTNERS = f"spiffe://{PARTNER}/agents/p1"
CORP_KEY = SigningKey("jwt-authority-1", "ES256", make_key("ES256"))
PARTNER_KEY = SigningKey("jwt-authority-2", "RS256", make_key("RS256"))
KEYS = {DOMAIN: CORP_KEY, PARTNER: PARTNER_KEY}
HOW_TO = Path(__file__).parents[3] / "docs" / "howto" / "keys-and-certificates.md"
ROUTES = """\
- {name: own, paths: [/own/**], modes: [autonomous], token: required}
- {name: both, paths: [/both/**], modes: [delegated, autonomous]}
- {name: people, paths: [/people/**]}
"""


def issuer(folder: Path, name: str, domain: str, more: str = "") -> str:
    """The smallest block for the JWT-SVIDs of a trust domain."""
    bundle = f"{{trust_domain: {domain}, file: '{folder}/{domain}.json'}}"
    keys = f"keys: {{spiffe_bundle: {bundle}}}"
    return f"- {{issuer: {name}, kind: spire, {keys}, audiences: ['{AUDIENCE}']{more}}}\n"


def changes(folder: Path) -> Any:
    """The lab with the bundles of two trust domains, as SPIRE writes them: without alg."""
    for domain, key in KEYS.items():
        entry = {**key.jwk(), "use": "jwt-svid"}
        del entry["alg"]
        (folder / f"{domain}.json").write_text(json.dumps({"keys": [entry], "spiffe_sequence": 1}))
    return (
        LAB.with_routes(ROUTES)
        .with_(("trust_domains",), [DOMAIN, PARTNER])
        .with_keys(AT_PUBLIC_RULE, "{paths: [/own/**, /both/**, /people/**]}")
        .with_items(
            ("issuers",), issuer(folder, SPIRE, DOMAIN) + issuer(folder, OF_PARTNER, PARTNER)
        )
        .with_agents(f"- {{id: {PARTNERS}, grants: [public]}}")
        .with_principals(f"""\
- {{match: {{issuer: {SPIRE}, subjects: [{TRAVEL}]}}, grants: [public]}}
- {{match: {{issuer: {SPIRE}}}, unrestricted: true}}
- {{match: {{issuer: {OF_PARTNER}, subjects: [{PARTNERS}, {TRAVEL}]}}, grants: [public]}}
""")
    )


def test_jwt_svids_for_one_request(tmp_path: Path) -> None:
    """With one_time a JWT-SVID needs what names it and dates it, which the standard does not."""
    once = changes(tmp_path).with_((*AT_ISSUER, "one_time"), True)  # the first one is SPIRE
    with World(tmp_path, once) as world:
        token = minted(jti="j-1")
        said = [token, token, minted(), minted(jti="j-2", iat=None)]
        reasons = [reason_of(asked(world, each)) for each in said]

    assert reasons == ["allow", "token_used", "token_claim", "token_claim"]


@pytest.fixture(scope="module")
def meshes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A core that trusts two trust domains' SPIREs."""
    folder = tmp_path_factory.mktemp("meshes")
    with World(folder, changes(folder)) as world:
        yield world


def minted(key: SigningKey = CORP_KEY, typ: str | None = "JWT", **claims: Any) -> str:
    """A JWT-SVID with what SPIRE has in it; a change to None leaves a claim out."""
    now = int(time.time())
    said = {"aud": [AUDIENCE], "exp": now + 300, "iat": now, "sub": TRAVEL} | claims
    header = {"alg": key.algorithm, "kid": key.key_id, **({} if typ is None else {"typ": typ})}
    present = {name: value for name, value in said.items() if value is not None}
    return sign_raw(key, json.dumps(header).encode(), json.dumps(present).encode())


def asked(world: World, token: str, agent: str = TRAVEL, path: str = "/own/x") -> pb.CheckResponse:
    """Ask as an agent with a token."""
    svid = world.authority.issue(agent)
    headers = [("authorization", f"Bearer {token}")]
    return world.check(check_request(svid, headers, principal=agent, path=path))


ROWS: list[tuple[dict[str, Any], str]] = [
    ({}, "allow"),
    ({"typ": "JOSE"}, "allow"),
    ({"typ": None}, "allow"),
    ({"iss": SPIRE}, "allow"),
    ({"aud": AUDIENCE}, "allow"),
    ({"iat": None}, "allow"),  # JWT-SVID section 3 requires aud, exp and sub
    ({"jti": "j", "nbf": 0}, "allow"),
    ({"iss": OF_PARTNER}, "token_key_unknown"),
    ({"iss": "https://spire.other.example"}, "token_issuer"),
    ({"iss": ""}, "token_issuer"),
    ({"iss": [SPIRE]}, "token_issuer"),
    ({"typ": "at+jwt"}, "token_typ"),
    ({"sub": PAYMENTS}, "actor_mismatch"),
    ({"sub": PARTNERS}, "token_key_unknown"),  # by the partner's bundle, which has no such key
    ({"sub": PARTNERS, "iss": SPIRE}, "token_claim"),
    ({"sub": f"spiffe://{DOMAIN}"}, "token_issuer"),
    ({"sub": f"spiffe://{DOMAIN}/", "iss": SPIRE}, "token_claim"),
    ({"sub": TRAVEL.upper(), "iss": SPIRE}, "token_claim"),
    ({"sub": "spiffe://other.example/a"}, "token_issuer"),
    ({"sub": "alice"}, "token_issuer"),
    ({"sub": "alice", "iss": SPIRE}, "token_claim"),
    ({"sub": None}, "token_issuer"),
    ({"sub": 7}, "token_issuer"),
    ({"aud": ["other"]}, "token_audience"),
    ({"aud": None}, "token_audience"),
    ({"exp": None}, "token_claim"),
    ({"exp": 1}, "token_expired"),
    ({"exp": 1, "iat": None}, "token_expired"),
    ({"exp": 2**40, "iat": None}, "token_lifetime"),
    ({"iat": "now"}, "token_claim"),
    ({"nonce": "n"}, "token_typ"),  # an ID token's
    ({"key": PARTNER_KEY}, "token_key_unknown"),
]


@pytest.mark.parametrize(("changed", "reason"), ROWS)
def test_what_spire_mints(meshes: World, changed: dict[str, Any], reason: str) -> None:
    """A JWT-SVID is its workload's own token, with iss or without; nothing near it is."""
    assert reason_of(asked(meshes, minted(**changed))) == reason


def test_what_is_told(meshes: World) -> None:
    """A token without iss has its issuer's name, as rules and upstreams know it."""
    answer = asked(meshes, minted())
    record = meshes.audit_records()[-1]

    assert header_of(answer, "x-agent-issuer") == SPIRE
    assert (record["mode"], record["by_svid"]) == ("autonomous", False)
    assert (record["issuer"], record["principal"]) == (SPIRE, TRAVEL)


def test_a_trust_domain_names_its_own_workloads_only(meshes: World) -> None:
    """The partner's SPIRE mints for its own workload, and for none of ours, whatever it claims."""
    acting = minted(PARTNER_KEY, sub=PARTNERS, act={"sub": TRAVEL}, scope="x")

    assert reason_of(asked(meshes, minted(PARTNER_KEY, sub=PARTNERS), PARTNERS)) == "allow"
    assert reason_of(asked(meshes, minted(PARTNER_KEY, iss=OF_PARTNER))) == "token_claim"
    assert reason_of(asked(meshes, minted(PARTNER_KEY))) == "token_key_unknown"
    assert reason_of(asked(meshes, acting, path="/both/x")) == "issuer_actor_scope"


def test_other_actors_are_the_operators_choice(tmp_path: Path) -> None:
    """A bundle's issuer names actors of other trust domains only as ``actors_from`` says."""
    at_partner = ("issuers", 1, "actors_from")
    with World(tmp_path, changes(tmp_path).with_(at_partner, [PARTNER, DOMAIN])) as world:
        acting = minted(PARTNER_KEY, sub=PARTNERS, act={"sub": TRAVEL}, scope="x")

        assert reason_of(asked(world, acting, path="/both/x")) == "allow"
        assert reason_of(asked(world, minted(PARTNER_KEY), path="/both/x")) == "token_key_unknown"


def test_it_is_for_autonomous_routes(meshes: World) -> None:
    """Where agents act for principals, a workload's own token has no principal behind it."""
    assert reason_of(asked(meshes, minted(), path="/both/x")) == "allow"
    assert reason_of(asked(meshes, minted(), path="/people/x")) == "token_typ"


def test_an_undated_token_meets_no_limit_of_age(tmp_path: Path) -> None:
    """Without iat a token may be of any age, so that rules on its age refuse it."""
    aged = changes(tmp_path).with_((*AT_PUBLIC_RULE, "max_token_age"), "5m")
    with World(tmp_path, aged) as world:
        assert reason_of(asked(world, minted())) == "allow"
        assert reason_of(asked(world, minted(iat=None))) == "policy_denied"


def test_the_how_tos_sample_takes_them(tmp_path: Path) -> None:
    """The issuer that the how-to on keys shows for SPIRE takes what SPIRE mints."""
    text = HOW_TO.read_text().partition("```yaml\n")[2].partition("```")[0]
    (sample,) = [one for one in yaml.safe_load(text)["issuers"] if one.get("kind") == "spire"]
    bundle = sample["keys"]["spiffe_bundle"]
    assert bundle.pop("workload_api")  # whose socket is not here
    bundle["file"] = str(tmp_path / f"{DOMAIN}.json")
    with World(tmp_path, changes(tmp_path).with_(("issuers", 0), sample)) as world:
        assert sample["issuer"] == SPIRE
        assert reason_of(asked(world, minted())) == "allow"
        assert reason_of(asked(world, minted(iss=SPIRE))) == "allow"


def test_a_trust_domain_has_one_issuer(meshes: World) -> None:
    """Two issuers with one trust domain's bundle are an error, at the line of the second."""
    second = issuer(meshes.folder, "https://second.example", DOMAIN)
    text = meshes.config_text.rstrip("\n").replace("issuers:\n", f"issuers:\n{second}")

    with pytest.raises(ConfigError) as caught:
        load_text(text.encode(), "t.yaml")
    place, _, said = str(caught.value).partition(
        f": issuers[1].keys.spiffe_bundle.trust_domain: an issuer with the bundle of {DOMAIN} is"
    )
    number = int(place.rpartition(":")[2])
    assert f"trust_domain: {DOMAIN}" in text.splitlines()[number - 1]
    assert "a token without iss could be of either: keep one" in said
