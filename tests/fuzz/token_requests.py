"""Token requests fuzzed: forms with good and twisted parameters, and subject tokens of all kinds.

Whatever comes, the answer is a refusal, or a token that ``issued_reference`` does not say no to.
"""

import json
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote, urlencode

from hypothesis import strategies as st

from authz.core.decision import Agent
from authz.core.sts.outcome import Refuse
from fuzz import issued_reference
from fuzz.choices import Choices
from fuzz.token_world import (
    APPROVAL,
    CALL,
    PREFIXES,
    REVOKED,
    REVOKED_ID,
    SUSPENDED,
    Ask,
    service,
)
from lab.dpop import DpopClient
from lab.issuer import MADE, Issuer, SigningKey, b64, claims_of, sign_json, sign_raw
from support.forged import altered, unsigned
from support.token_service import (
    AT_HOTEL,
    AT_ORDERS,
    AT_TRAVEL,
    HOTEL,
    IDP,
    ORCHESTRATOR,
    PARTNER,
    STRANGER,
    STS,
    TRAVEL,
    WEBAPP,
    Service,
    client,
)

Draw = Callable[..., Any]
Mutate = Callable[[Draw, bytes], bytes]
Members = dict[str, Any]
_TYPE: Final = "urn:ietf:params:oauth:token-type:"
_GRANT: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
_AGENTS: Final = (ORCHESTRATOR, TRAVEL, HOTEL)
_SCOPES: Final = ("trips:plan", "trips:book", "hotels:book", "bank:pay")
# By the client of a good request: what its subject tokens are for, who acts, and what it asks for.
_GOOD: Final = {
    ORCHESTRATOR: ((WEBAPP, STS), (), (AT_TRAVEL, STS)),
    TRAVEL: ((AT_TRAVEL, STS), (ORCHESTRATOR,), (AT_HOTEL,)),
    HOTEL: ((AT_HOTEL, STS), (TRAVEL, ORCHESTRATOR), (AT_ORDERS,)),
}
_AUDIENCES: Final = (WEBAPP, STS, AT_TRAVEL, AT_HOTEL, AT_ORDERS, f"{STS}/", "", "*")
_PROOFS: Final = DpopClient()
_OTHER: Final = SigningKey("other", "ES256", DpopClient().key.private)
_ODD: Final = (None, True, 0, 7, -1.5, 2**60, "", "x", [], ["x"], {}, {"sub": TRAVEL}, [TRAVEL])
_CLAIMS: Final = (
    *("iss", "sub", "aud", "exp", "iat", "nbf", "jti", "scope", "client_id", "azp", "act", "cnf"),
    *("may_act", "sub_id", "auth_time", "groups", "nonce", "events", "typ", "token_use", "idtyp"),
    *("authorization_details", "status", "_claim_names", "crit", "gty", "acr", "entitlements"),
)
_TYPS: Final = (
    *("at+jwt", "JWT", "jwt", "application/at+jwt", "JOSE", "dpop+jwt", "logout+jwt", "secevent+jwt"),
    *("authz-assertion+jwt", "txntoken+jwt", "oauth-id-jag+jwt", "id_token+jwt", "", 7, None),
)


def check(ask: Ask, draw: Draw, mutate: Mutate) -> tuple[str, str]:
    """Ask with one drawn form: the answer, and what is wrong with it, "" when nothing is."""
    world = service()
    r = Choices.of(draw(st.integers(0, 2**64)))
    agent, made = _client(r, world), len(MADE)
    form, proof = _form(r, world, agent.spiffe_id.text), _proof(r, world)
    del MADE[made:]  # there would be millions, and none comes into any output
    if draw(st.integers(0, 15)) == 15:  # noqa: PLR2004 - seldom
        form = mutate(draw, form)
    what = f"for {form!r} of {agent.spiffe_id.text} with proof {proof}"
    try:
        outcome = ask(world.core, form, proof, agent, world.now)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is wrong
        return "", f"{type(error).__name__}: {error} {what}"
    if isinstance(outcome, Refuse):
        return outcome.reason.code, _wrong_refusal(outcome, what)
    asker = issued_reference.Asker(agent, proof, world.now)
    wrong = issued_reference.why_not(form, asker, _keys(world), outcome)
    return "issued", f"{wrong}: {outcome.claims} {what}" if wrong else ""


def _wrong_refusal(refused: Refuse, what: str) -> str:
    """A client is told a known error, and no operator's words."""
    told = refused.answer()
    is_told = set(told) == {"error", "error_description"} and refused.error.http_status in (
        *(400, 401),
        503 if refused.reason.is_own_fault else 400,
    )
    return "" if is_told else f"told {told}, {refused.error.http_status} {what}"


def _keys(world: Service) -> issued_reference.Keys:
    return {
        (issuer.url, name): key.private.public_key()
        for issuer in (world.idp, world.partner, world.own)
        for name, key in issuer.keys.items()
    }


def _client(r: Choices, world: Service) -> Agent:
    name = r.nearly(_AGENTS, [STRANGER, SUSPENDED, REVOKED])
    if not r.is_odd(0.2):
        return client(name)
    return r.choice([Agent(client(name).spiffe_id, ""), client(name, "", world.now + 7)])


def _form(r: Choices, world: Service, agent: str) -> bytes:
    """Return the bytes of a form that is good or nearly so."""
    kind, token = _subject_token(r, world, agent)
    if r.is_odd(0.1):
        kind = r.choice(["access_token", "jwt", "id_token", "refresh_token", "saml2"])
    _, _, targets = _GOOD.get(agent, _GOOD[TRAVEL])
    target = r.nearly(targets, _AUDIENCES)
    pairs = [
        ("grant_type", _GRANT),
        ("subject_token", token),
        ("subject_token_type", _TYPE + kind),
        (r.choice(["audience", "resource"]), target),
    ]
    if r.random() < 0.5:
        pairs.append(("scope", " ".join(r.sample(_SCOPES, r.randint(1, 4)))))
    if r.random() < 0.15:
        pairs.append(("authorization_details", _details(r)))
    if r.random() < 0.15:
        pairs += [("actor_token", _actor_token(r, world, agent))]
        pairs += [("actor_token_type", _TYPE + r.nearly(["jwt"], ["access_token", ""]))]
    if r.random() < 0.2:
        pairs.append(("requested_token_type", _TYPE + r.nearly(["jwt", "access_token"], ["id_token"])))
    for _ in range(r.nearly([0], [1, 1, 2], 0.4)):
        _twist(r, pairs)
    r.shuffle(pairs)
    return _written(r, pairs)


def _twist(r: Choices, pairs: list[tuple[str, str]]) -> None:
    """Change a list of parameters in one of the ways that clients and attackers do."""
    if not pairs:
        return
    at = r.randrange(len(pairs))
    name, value = pairs[at]
    how = r.choice(["twice", "again", "empty", "drop", "odd", "case", "unknown", "more"])
    if how == "twice":
        pairs.insert(at, (name, value))
    elif how == "again":
        pairs.append((name, r.choice(["", "x", "trips:plan trips:book", STS, AT_HOTEL, value[:-1]])))
    elif how == "drop":
        del pairs[at]
    elif how == "unknown":
        pairs.append((r.choice(["client_id", "x", "audience[]", "scope ", "Scope"]), STRANGER))
    elif how == "more":
        pairs.append((r.choice(["audience", "resource"]), r.choice([*_AUDIENCES, "a", "urn:x#y"])))
    else:
        odd = r.choice(["x", f"{value} ", f" {value}", f"{value}\0", f"{value},", "a  b", "\u00e9"])
        pairs[at] = {"empty": (name, ""), "odd": (name, odd)}.get(how, (name.upper(), value))


def _written(r: Choices, pairs: list[tuple[str, str]]) -> bytes:
    """Write a form as clients do, or with every octet escaped, or escaped too little."""
    if not r.is_odd(0.2):
        return urlencode(pairs).encode()
    if r.random() < 0.7:
        return "&".join(f"{_escaped(name)}={_escaped(value)}" for name, value in pairs).encode()
    return "&".join(f"{quote(name, safe='[]')}={value}" for name, value in pairs).encode()


def _escaped(text: str) -> str:
    return "".join(f"%{octet:02x}" for octet in text.encode())


def _proof(r: Choices, world: Service) -> str | None:
    """Return a DPoP proof for the token endpoint, or one that is not, or none."""
    if r.random() < 0.75:
        return None
    changes: Members = r.nearly(
        [{}],
        [
            *({"htu": AT_HOTEL}, {"htm": "GET"}, {"iat": 7}, {"jti": None}, {"iat": "7"}),
            *({"htu": f"{STS}/TOKEN"}, {"iat": int(world.now) - 100}),
        ],
        0.4,
    )
    given = {"ath": None, "iat": int(world.now), "htu": f"{STS}/token", "htm": "POST"} | changes
    text = _PROOFS.proof("", given.pop("htm"), given.pop("htu"), **given)
    return r.nearly([text], [f"{text},{text}", text[:-4], "", "x.y.z"])


def _details(r: Choices) -> str:
    one = {
        "type": r.nearly([CALL, APPROVAL], ["other"]),
        "amount": r.nearly([5, 50], [500, True, 5.0]),
    }
    return r.nearly(
        [json.dumps([one])],
        [
            json.dumps([one, {"type": CALL, "amount": 50}]),
            *("[]", "{}", "[7]", json.dumps(one), '[{"type":"a","type":"b"}]', "[" * 40, "[NaN]"),
        ],
    )


def _actor_token(r: Choices, world: Service, agent: str) -> str:
    name = r.nearly([agent], [TRAVEL, HOTEL, "alice"])
    audience = r.nearly([STS], [AT_TRAVEL])
    changes = r.nearly([{}], [{"act": {"sub": agent}}, {"exp": 7}, {"nonce": "n"}])
    issuer = r.choice([world.idp, world.idp, world.partner, world.own])
    claims = {"sub": name, "scope": "x", "jti": "j", **world.times, "aud": audience}
    return _signed(issuer, claims | changes, "at+jwt")


def _subject_token(r: Choices, world: Service, agent: str) -> tuple[str, str]:
    """Return the type of a subject token and its text: of any kind, good or nearly so."""
    audiences, actors, _ = _GOOD.get(agent, _GOOD[TRAVEL])
    good = ["id", "issuer", "issuer"] if agent == ORCHESTRATOR else ["own", "own", "issuer"]
    named = r.nearly(good, ["id", "issuer", "own", "other", "forged", "forged", "text"], 0.6)
    claims: Members = {
        "sub": r.nearly(["alice", "bob"], ["mallory", "a:alice"]),
        "aud": r.nearly([*audiences, [*audiences]], [*_AUDIENCES, [audiences[0], "x"]]),
        "scope": " ".join(r.sample(_SCOPES, r.randint(1, 4))),
        "act": _act(r, actors),
        "jti": r.nearly(["j"], [REVOKED_ID]),
        **world.times,
    }
    if r.random() < 0.3:
        claims |= {"auth_time": int(world.now) - 9, "groups": ["travellers"]}
    if named == "id":
        return "id_token", _id_token(r, world)
    issuer = world.own if named == "own" else r.choice([world.idp, world.idp, world.partner])
    if issuer is world.own:
        claims |= _own(r, claims["sub"])
    for _ in range(r.nearly([0], [1, 1, 2], 0.5)):
        _change(r, claims)
    if named == "other":
        issuer, typ = r.choice([world.idp, world.own, world.partner]), r.choice(_TYPS)
        return _kind(r), _signed(issuer, claims, typ)
    typ = "JWT" if issuer is world.idp and r.random() < 0.3 else "at+jwt"
    token = _signed(issuer, claims, typ)
    if named == "forged":
        return _kind(r), _forged(r, world, issuer, token)
    return _kind(r), r.choice(["x", "a.b.c", "", "\u00e9", token[:-1]]) if named == "text" else token


def _signed(issuer: Issuer, claims: Members, typ: object) -> str:
    """Return a token of an issuer; a claim that is None is left out."""
    key = issuer.current
    header = {"alg": key.algorithm, "kid": key.key_id, "typ": typ}
    given = {"iss": issuer.url, "client_id": "lab-client"} | claims
    parts = ({name: value for name, value in part.items() if value is not None} for part in (header, given))
    return sign_json(key, *parts)


def _kind(r: Choices) -> str:
    return r.choice(["access_token", "access_token", "jwt"])


def _act(r: Choices, actors: tuple[str, ...]) -> Members | None:
    """Return the chain that a good token has, or nearly so."""
    chain = list(actors)
    how = r.random() / (r.wildness or 0.01)
    if how < 0.2:
        chain.insert(r.randint(0, len(chain)), r.choice([*_AGENTS, SUSPENDED, REVOKED, "batch"]))
    elif how < 0.3:
        chain += r.choices([*_AGENTS, "batch", "spiffe://x"], k=r.randint(1, 4))
    elif how < 0.35:
        chain = chain[1:]
    act: Members | None = None
    for name in reversed(chain):
        act = {"sub": name, **({"act": act} if act else {})}
        if r.is_odd(0.1):
            act["iss"] = r.choice([IDP, STS, PARTNER, "spiffe://corp.example", 7])
    return act


def _own(r: Choices, subject: str) -> Members:
    """Return what our own tokens have beside: the principal as its issuer names it, and a key."""
    issuer = r.choice([IDP, IDP, IDP, PARTNER])
    prefix = PREFIXES[r.nearly([issuer], [PARTNER], 0.1)]
    return {
        "sub": prefix + subject,
        "sub_id": {"format": "iss_sub", "iss": issuer, "sub": subject},
        "client_id": TRAVEL,
        "cnf": {"x5t#S256": f"thumbprint-of-{r.choice(['travel', 'hotel'])}"},
    }


def _id_token(r: Choices, world: Service) -> str:
    changes: Members = {"groups": ["travellers"]} if r.random() < 0.3 else {}
    for _ in range(r.nearly([0], [1, 1, 2], 0.5)):
        _change(r, changes)
    if r.is_odd(0.2):
        changes["iat"] = int(world.now) - r.choice([500, 700])
    header = {"typ": r.choice(_TYPS)} if r.is_odd(0.3) else {}
    return world.id_token(header=header, **changes)


def _change(r: Choices, claims: Members) -> None:
    name = r.choice(_CLAIMS)
    near: Members = {
        "iss": [IDP, PARTNER, STS, f"{IDP}/"],
        "sub": [TRAVEL, "spiffe:", "a" * 1025, "lab-client", "alice\n"],
        "aud": [*_AUDIENCES, [STS, 7], [[STS]]],
        "cnf": [_PROOFS.confirmation, {"x5t#S256": "other"}, {"jwk": {}}],
        "may_act": [{"sub": name} for name in (*_AGENTS, "alice")] + [{"sub": TRAVEL, "x": 1}],
        "authorization_details": [[{"type": kind, "amount": 5}] for kind in (CALL, APPROVAL, "x")],
        "_claim_names": [{"groups": "src1"}, {"email": "src1"}],
        "scope": [["trips:plan"], "trips:plan  x", " ", ["a b"]],
        "exp": [7, 2**53 - 1, "9999999999"],
        "sub_id": [{"format": "iss_sub", "iss": IDP, "sub": "bob"}, {"format": "opaque"}],
    }
    claims[name] = r.choice([*near.get(name, []) * 3, *_ODD])


def _forged(r: Choices, world: Service, issuer: Issuer, token: str) -> str:
    """Return a token that its issuer did not sign."""
    head, body, signature = token.split(".")
    claims = claims_of(token)
    key = issuer.current
    header = {"alg": "ES256", "kid": key.key_id, "typ": "at+jwt"}
    payload = json.dumps(claims).encode()
    public = key.jwk()
    return r.choice(
        [
            lambda: unsigned(claims),
            lambda: altered(token, scope=" ".join(_SCOPES)),
            lambda: altered(token, sub="bob"),
            lambda: sign_raw(_OTHER, json.dumps(header).encode(), payload),
            lambda: sign_raw(_OTHER, json.dumps(header | {"jwk": _OTHER.jwk()}).encode(), payload),
            lambda: sign_raw(key, json.dumps(header | {"alg": "none"}).encode(), payload),
            lambda: sign_raw(key, json.dumps(header | {"crit": ["exp"]}).encode(), payload),
            lambda: sign_raw(key, json.dumps(header | {"jwk": public}).encode(), payload),
            lambda: sign_raw(key, json.dumps(header).encode(), _doubled(payload)),
            lambda: _signed(world.partner, {**claims, "iss": IDP}, "at+jwt"),
            lambda: f"{head}.{body}.{signature}=",
            lambda: f"{head}.{body}.{b64(bytes(64))}",
            lambda: f"{head}.{body}.",
        ]
    )()


def _doubled(payload: bytes) -> bytes:
    """Say a second audience, as some parsers would read it."""
    return payload[:-1] + b', "aud": "' + STS.encode() + b'"}'
