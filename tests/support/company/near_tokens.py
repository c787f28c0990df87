"""Near misses of tokens: one thing that a token says, or how it is signed, changed."""

import random
from collections.abc import Callable
from typing import Any

from support.company.names import (
    AGENTS,
    AUDIENCE,
    CLIENTS,
    LEGACY_ISSUER,
    PARTNER_ISSUER,
    STAFF_ISSUER,
    STATUSES,
    STRANGER,
    SUSPENDED,
)
from support.company.near_kinds import OF_KINDS
from support.docs_model import Token

Claims = dict[str, Any]
TokenChange = Callable[[random.Random, Token], None]


def scope(r: random.Random, token: Token) -> None:
    """A scope less."""
    name = "scp" if "scp" in token.claims else "scope"
    words = token.claims.get(name, [])
    is_text = isinstance(words, str)
    words = words.split() if is_text else words
    fewer = r.sample(words, max(0, len(words) - 1))
    token.claims[name] = " ".join(fewer) if is_text and r.random() < 0.8 else fewer


def issuer(r: random.Random, token: Token) -> None:
    """Another issuer."""
    strangers = [f"{STAFF_ISSUER}/", "https://evil.example"]
    token.claims["iss"] = r.choice([PARTNER_ISSUER, LEGACY_ISSUER, *strangers])


def times(r: random.Random, token: Token) -> None:
    """Over, not begun, or too long."""
    issued = token.claims["iat"]
    token.claims |= r.choice(
        [
            {"iat": issued - 4000, "exp": issued - 100},
            {"nbf": issued + 9000, "exp": issued + 12000},
            {"iat": issued - 4000},
            {"exp": issued + 90000},
            {"exp": issued},
            {"nbf": token.claims["exp"]},
        ]
    )


def authentication(r: random.Random, token: Token) -> None:
    """The principal authenticated otherwise, or long ago."""
    token.claims |= r.choice([{"acr": "pwd"}, {"auth_time": token.claims["iat"] - 20000}])


def longer_chain(r: random.Random, token: Token) -> None:
    """An actor more at the chain's end."""
    act = token.claims.get("act", {})
    while "act" in act:
        act = act["act"]
    act["act"] = {"sub": r.choice([*AGENTS, *SUSPENDED, STRANGER])}


def actor(r: random.Random, token: Token) -> None:
    """Another actor, or none, or one that is no object."""
    if "azp" in token.claims and r.random() < 0.5:
        del token.claims["azp"]
    wrong: list[Any] = [None, "x", [], {}, {"sub": 5}, {"sub": r.choice(AGENTS)}]
    wrong += [{"sub": r.choice(AGENTS), "iss": "https://evil.example"}]
    wrong += [(token.claims.get("act") or {}) | {"iss": "https://evil.example"}]
    token.claims["act"] = r.choice(wrong)
    if token.claims["act"] is None:
        del token.claims["act"]


def itself(_: random.Random, token: Token) -> None:
    """The agent is the principal too."""
    if "act" in token.claims:
        token.claims["sub"] = token.claims["act"]["sub"]


def clients_own(r: random.Random, token: Token) -> None:
    """The token of a client, or of something that is no person."""
    claims = token.claims
    named = [claims[name] for name in ("azp", "appid", "cid", "client_id") if name in claims]
    client = named[0] if named else "shell"
    claims |= r.choice(
        [
            {"sub": client},
            {"sub": f"{client}@clients"},
            {"preferred_username": f"service-account-{client}"},
            {"preferred_username": "service-account-other"},
            {"gty": "client-credentials"},
            {"idtyp": r.choice(["app", "device"])},
            {"sub_profile": r.choice(["ai_agent", "service"])},
            {"aut": "APPLICATION"},
            {"sub": r.choice([*CLIENTS, *AGENTS])},
            {"sub": r.choice([*CLIENTS]).upper()},
            {r.choice(["username", "upn", "uid"]): r.choice([client, *CLIENTS])},
            {
                "more": {
                    "grant": [r.choice(["ClientCredentials", "x client-credentials", "client"])]
                }
            },
            {"act": claims.get("act", {}) | {"gty": "client_credentials"}}
            if "act" in claims
            else {},
            {"xms_sub_fct": r.choice([["13"], 11, "1 13", [3]])},
        ]
    )


def unseen_person(r: random.Random, token: Token) -> None:
    """Nothing by which a person would be seen; or a name alone."""
    for name in ("amr", "sub_profile", "idtyp", "sid", "grant_type", "auth_time"):
        token.claims.pop(name, None)
    token.claims["sub"] = r.choice(
        [
            *(token.claims["sub"], "alice", "alice.smith@corp.example", "batch", "auth0|77", "a-b"),
            *("reporter", "client|7", "cronjobs.x", "travels", "payments", "system:node:x"),
        ]
    )
    signs: list[Claims] = [{}, {"amr": [""]}, {"auth_time": 5.5}, {"acr": "goauthentik.io/x"}]
    token.claims |= r.choice(signs)


def restricted(r: random.Random, token: Token) -> None:
    """Something that takes away, of the token or of its actor."""
    of_act: list[Claims] = [
        {"sub_profile": r.choice(["user", "ai_agent", "service", "", "new"])},
        {"cnf": {"jkt": "x"}},
        {"act": None},
    ]
    if isinstance(token.claims.get("act"), dict) and r.random() < 0.7:
        token.claims["act"] |= r.choice(of_act)
    else:
        token.claims[r.choice(["status", "authorization_details", "exi", "crit"])] = {}


def of_another_status(r: random.Random, token: Token) -> None:
    """A place that does not count, is not in the list, in a list that is away, or no place."""
    entry = token.claims["status"]["status_list"]
    if r.random() < 0.5:
        entry["idx"] = r.choice([1, 2, 3, len(STATUSES), 10**18, -1, 4.0, True, "4", None])
        return
    token.statuses = ()
    above = entry["uri"].removesuffix("/1")
    away, *elsewhere = "/2", "", "/", "/.1", "/../1", "/%31", "/1?x", "//1"
    entry["uri"] = r.choice([above + name for name in (away, away, away, *elsewhere)] + [None])


def about_person(r: random.Random, token: Token) -> None:
    """A claim of another value or type, or none."""
    name = r.choice(["groups", "roles", "department", "level", "region", "clearance", "org"])
    values = [1, True, "true", 5, 2.9, ["super"], ["finance"], "finance", {"tenant": "blue"}]
    token.claims[name] = r.choice(values)
    if r.random() < 0.3:
        del token.claims[name]


def about_groups(r: random.Random, token: Token) -> None:
    """Groups or roles that are elsewhere, or written in another form."""
    name, word = r.choice([("groups", "interns"), ("groups", "contractors"), ("roles", "guest")])
    held = token.claims.get(name, ["marketing"])
    forms: list[Any] = [
        [{"value": one, "display": one.title()} for one in [*held, word]],
        [*held, 7],
        [*held, [word]],
        [*held, f"{word} "],
        {"value": word},
        f"marketing {word}",
        f"marketing,{word}",
        [*held, f"cn={word},ou=groups"],
        [f"marketing|{word}"],
        f'["{word}"]',
        [],
        None,
        3,
    ]
    token.claims[name] = r.choice(forms)
    if r.random() < 0.5:
        del token.claims[name]
        marks: list[dict[str, Any]] = [
            {"_claim_names": {name: "src1"}},
            {"hasgroups": True},
            {f"{name}:src1": "x"},
        ]
        token.claims |= r.choice(marks)


def about_token(r: random.Random, token: Token) -> None:
    """A name or audience that is missing or wrong."""
    name = r.choice(["sub", "jti", "client_id", "aud", "aud"])
    token.claims[name] = r.choice(["x", ["x", "y"], 5, "", "a,b\r\nx: y", "legal"])
    if name == "aud":
        token.claims[name] = r.choice(["x", [AUDIENCE, "y"], "legal", ["x"]])


def other_person(r: random.Random, token: Token) -> None:
    """Another principal with the same claims."""
    token.claims["sub"] = f"u{r.randrange(2000):04}"


def defect(r: random.Random, token: Token) -> None:
    """A signature that is wrong."""
    token.defect = r.choice(["signature", "kid", "alg"])


def typ(r: random.Random, token: Token) -> None:
    """Another kind of token."""
    token.typ = r.choice(["JWT", "at+jwt", "dpop+jwt", "", "JOSE"])


OF_TOKENS: list[TokenChange] = [
    scope,
    issuer,
    times,
    times,
    authentication,
    longer_chain,
    longer_chain,
    actor,
    itself,
    clients_own,
    clients_own,
    unseen_person,
    restricted,
    about_person,
    about_person,
    about_groups,
    about_groups,
    about_token,
    about_token,
    other_person,
    defect,
    typ,
    *OF_KINDS,
]
