"""Issuers as products of several vendors run them, and the tokens that these make.

Of users that let an agent act, and of agents, clients and workloads for themselves.
"""

import random
from collections.abc import Callable
from typing import Any

from support.company.names import AGENTS, AUDIENCE, CORP, agent
from support.docs_model import Token

Claims = dict[str, Any]

URLS = {
    "keycloak": "https://sso.corp.example/realms/corp",
    "entra": "https://login.corp.example/tenant/v2.0",
    "okta": "https://corp.okta.example/oauth2/default",
    "cognito": "https://cognito.example/pool_1",
    "spring": "https://spring.corp.example",
    "kubernetes": "https://kubernetes.default.svc",
    "spire": "https://spire.corp.example",
}
VENDORS = {url: vendor for vendor, url in URLS.items()}
OF_USERS = ["keycloak", "entra", "okta", "cognito", "spring"]
WORKLOADS = AGENTS[:25]  # those with a namespace and an account
APPS = {f"app-{number}": name for number, name in enumerate(AGENTS)}
OTHERS = {app: name for app, name in APPS.items() if name not in AGENTS[:18]}
TEAM = {"agent-{name}": f"spiffe://{CORP}/ns/agents/sa/{{name}}"}
ACCOUNTS = {"system:serviceaccount:{ns}:{sa}": f"spiffe://{CORP}/ns/{{ns}}/sa/{{sa}}"}

# What the config says of each; written out, so that no preset has to be known.
SETTINGS: dict[str, Claims] = {
    "keycloak": {
        "typ": ["JWT", "at+jwt"],
        "actor": {"claim": "azp", "map": OTHERS, "patterns": TEAM},
    },
    "entra": {
        "typ": ["JWT"],
        "scope_claim": "scp",
        "actor": {"claim": ["azp", "appid"], "map": APPS},
    },
    "okta": {"typ": ["JWT"], "scope_claim": "scp", "actor": {"claim": "cid", "map": APPS}},
    "cognito": {
        "typ": ["JWT"],
        "audiences": [*APPS],
        "actor": {"claim": "client_id", "map": APPS},
        "person_shown_by": {"username": ["*"]},
    },
    "spring": {"typ": ["JWT"], "actor": {"claim": "act", "map": APPS}},
    "kubernetes": {"typ": ["JWT"], "actor": {"claim": "sub", "patterns": ACCOUNTS}},
    "spire": {"typ": ["JWT", "JOSE"], "actor": {"claim": "act"}},
}


def issuers() -> list[Claims]:
    """Their settings in the config, but for the keys; lines of the kind are all said otherwise."""
    common: Claims = {"audiences": [AUDIENCE, "legal"], "algorithms": ["ES256"]}
    scope = {"scope_claim": "scope"}
    return [
        {"issuer": URLS[vendor], "kind": vendor} | common | scope | settings
        for vendor, settings in SETTINGS.items()
    ]


def app_of(vendor: str, name: str) -> str:
    """What an agent is called at an issuer."""
    last = name.rsplit("/", maxsplit=1)[-1]
    if vendor == "kubernetes":
        return f"system:serviceaccount:{name.split('/')[-3]}:{last}"
    if vendor == "spire":
        return name
    if vendor == "keycloak" and name in AGENTS[:18]:
        return f"agent-{last}"
    return next(app for app, named in APPS.items() if named == name)


def subject_of(vendor: str, name: str) -> str:
    """The subject of the agent's own token."""
    forms = {"keycloak": "account-of-{}", "entra": "object-of-{}"}
    return forms.get(vendor, "{}").format(app_of(vendor, name))


OWN = {(URLS[vendor], subject_of(vendor, name)): name for vendor in SETTINGS for name in WORKLOADS}


def itself(r: random.Random) -> tuple[str, Claims]:
    """An agent, and what its own token says of it."""
    name, vendor = r.choice(WORKLOADS), r.choice([*SETTINGS, "kubernetes", "spire"])
    return name, {"iss": URLS[vendor], "sub": subject_of(vendor, name)}


def principals(some: Callable[[int], list[str]]) -> list[Claims]:
    """Users by their groups, and agents as subjects."""
    found: list[Claims] = [
        {"match": {"issuer": URLS[vendor], "groups": [group]}, "grants": some(20)}
        for vendor in OF_USERS
        for group in ("finance", "sales", "travelers", "platform", "security", "oncall", "execs")
    ]
    own = [f"{service}-{what}" for service in ("deploy", "audit") for what in ("read", "write")]
    for vendor, url in URLS.items():
        subjects = [subject_of(vendor, name) for name in WORKLOADS]
        found.append({"match": {"issuer": url, "subjects": subjects}, "grants": own})
    return found


def token(r: random.Random, claims: Claims, scopes: list[str], name: str) -> Token:
    """A token of a vendor's issuer, of whom the claims say, for an agent."""
    vendor = VENDORS[claims["iss"]]
    del claims["client_id"]
    if r.random() < 0.3:
        claims.pop("jti")
    if (claims["iss"], claims["sub"]) in OWN:
        claims.pop("auth_time", None)
        _fill_own(r, vendor, claims, name)
    else:
        _fill_users(r, vendor, claims, name)
    if vendor == "cognito":
        claims.pop("aud")
    if vendor not in ("kubernetes", "spire"):
        text, words = " ".join(scopes), list(scopes)
        forms = {"okta": words, "spring": words}
        claims[SETTINGS[vendor].get("scope_claim", "scope")] = forms.get(vendor, text)
    if vendor == "entra" and claims.get("idtyp") == "app":
        del claims["scp"]
    types = {"keycloak": ["JWT"], "spire": ["JWT", "JOSE", ""], "entra": ["JWT"]}
    return Token(claims, typ=r.choice(types.get(vendor, ["", "JWT"])))


def _fill_users(r: random.Random, vendor: str, claims: Claims, name: str) -> None:
    """What an issuer writes of a user who lets an agent act."""
    app = app_of(vendor, name)
    context = f"{r.choice(['onrtac', 'trltro', 'ofrtdg'])}:{r.getrandbits(32):x}"
    filled: dict[str, list[Claims]] = {
        "keycloak": [
            {"azp": app, "typ": "Bearer", "sid": "s-1", "preferred_username": "somebody"},
            {"azp": app, "typ": "Bearer", "jti": context},
            {"azp": app, "client_id": app, "jti": context, "act": {"sub": app}},
            {"azp": app, "jti": context, "act": {"sub": app, "act": {"sub": "agent-a05"}}},
        ],
        "entra": [{"azp": app, "oid": "o-1"}, {"appid": app, "oid": "o-1", "idtyp": "user"}],
        "okta": [{"cid": app, "uid": claims["sub"]}],
        "cognito": [{"client_id": app, "token_use": "access", "username": "somebody"}],
        "spring": [
            {"act": {"sub": app}},
            {"act": {"sub": name}},
            {"act": {"sub": app, "iss": claims["iss"]}},
            {"act": {"sub": app, "act": {"sub": r.choice([*APPS, agent(7), "app-x"])}}},
        ],
    }
    claims |= r.choice(filled[vendor])


def _fill_own(r: random.Random, vendor: str, claims: Claims, name: str) -> None:
    """What an issuer writes of an agent that acts for itself."""
    app = app_of(vendor, name)
    filled: dict[str, list[Claims]] = {
        "keycloak": [
            {"azp": app, "preferred_username": f"service-account-{app}", "clientHost": "h"},
            {"azp": app, "jti": f"trrtcc:{r.getrandbits(32):x}"},
            {"azp": app, "clientAddress": "10.0.0.7", "act": {"sub": app}},
        ],
        "entra": [{"azp": app, "idtyp": "app", "oid": claims["sub"]}],
        "okta": [{"cid": app}],
        "cognito": [{"client_id": app, "token_use": "access"}],
        "spring": [{}, {"act": {"sub": app}}],
        "kubernetes": [{"kubernetes.io": {"namespace": "agents"}}],
        "spire": [{}],
    }
    claims |= r.choice(filled[vendor])
