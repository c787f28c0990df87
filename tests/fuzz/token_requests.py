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
from fuzz.subject_tokens import (
    AGENTS,
    AUDIENCES,
    PROOFS,
    ROLES,
    SCOPES,
    Role,
    signed,
    subject_token,
)
from fuzz.token_world import (
    APPROVAL,
    CALL,
    REVOKED,
    SUSPENDED,
    Ask,
    service,
)
from lab.issuer import MADE
from support.token_service import (
    AT_HOTEL,
    AT_TRAVEL,
    HOTEL,
    STRANGER,
    STS,
    TRAVEL,
    Service,
    client,
)

Draw = Callable[..., Any]
Mutate = Callable[[Draw, bytes], bytes]
Members = dict[str, Any]
_TYPE: Final = "urn:ietf:params:oauth:token-type:"
_GRANT: Final = "urn:ietf:params:oauth:grant-type:token-exchange"


def check(ask: Ask, draw: Draw, mutate: Mutate) -> tuple[str, str]:
    """Ask with one drawn form: the answer, and what is wrong with it, "" when nothing is."""
    world = service()
    r = Choices.of(draw(st.integers(0, 2**64)))
    role, made = r.choice(ROLES), len(MADE)
    agent = _client(r, world, role.agent)
    form, proof = _form(r, world, role, agent.spiffe_id.text), _proof(r, world)
    del MADE[made:]  # there would be millions, and none comes into any output
    if draw(st.integers(0, 15)) == 15:
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


def _client(r: Choices, world: Service, good: str) -> Agent:
    name = r.nearly([good], [*AGENTS, STRANGER, SUSPENDED, REVOKED])
    if not r.is_odd(0.2):
        return client(name)
    return r.choice([Agent(client(name).spiffe_id, ""), client(name, "", world.now + 7)])


def _form(r: Choices, world: Service, role: Role, agent: str) -> bytes:
    """Return the bytes of a form that is good or nearly so."""
    kind, token = subject_token(r, world, role)
    if r.is_odd(0.1):
        kind = r.choice(["access_token", "jwt", "id_token", "refresh_token", "saml2"])
    target = r.nearly(role.targets, AUDIENCES)
    pairs = [
        ("grant_type", _GRANT),
        ("subject_token", token),
        ("subject_token_type", _TYPE + kind),
        (r.choice(["audience", "resource"]), target),
    ]
    if r.random() < 0.5:
        pairs.append(("scope", " ".join(r.sample(SCOPES, r.randint(1, 4)))))
    if (role is ROLES[0] and r.random() < 0.3) or r.is_odd(0.1):
        pairs.append(("authorization_details", _details(r)))
    if r.random() < 0.15:
        pairs += [("actor_token", _actor_token(r, world, agent))]
        pairs += [("actor_token_type", _TYPE + r.nearly(["jwt"], ["access_token", ""]))]
    if r.random() < 0.2:
        pairs.append(
            ("requested_token_type", _TYPE + r.nearly(["jwt", "access_token"], ["id_token"]))
        )
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
        pairs.append(
            (name, r.choice(["", "x", "trips:plan trips:book", STS, AT_HOTEL, value[:-1]]))
        )
    elif how == "drop":
        del pairs[at]
    elif how == "unknown":
        pairs.append((r.choice(["client_id", "x", "audience[]", "scope ", "Scope"]), STRANGER))
    elif how == "more":
        pairs.append((r.choice(["audience", "resource"]), r.choice([*AUDIENCES, "a", "urn:x#y"])))
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
    given: Members = {
        "ath": None,
        "iat": int(world.now),
        "htu": f"{STS}/token",
        "htm": "POST",
    } | changes
    text = PROOFS.proof("", given.pop("htm"), given.pop("htu"), **given)
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
    changes: Members = r.nearly([{}], [{"act": {"sub": agent}}, {"exp": 7}, {"nonce": "n"}])
    issuer = r.choice([world.idp, world.idp, world.partner, world.own])
    claims = {"sub": name, "scope": "x", "jti": "j", **world.times, "aud": audience}
    return signed(issuer, claims | changes, "at+jwt")
