"""Whose token it is: a person's, the client's own, or nobody's that it shows."""

import re
from collections.abc import Iterator
from typing import Any

from docs_model.asked import Rule

FORMS = ["%s", "%s@clients", "service-account-%s", "(age!%s)"]
KINDS = {"idtyp": "user", "sub_profile": "user", "sub_type": "user", "aut": "APPLICATION_USER"}
USER_GRANTS = {
    "authorization_code",
    "password",
    "implicit",
    "urn:ietf:params:oauth:grant-type:device_code",
}
TOGETHER = [
    *("auth_time", "amr"),
    *("cid uid", "token_use username", "oid scp", "sid preferred_username"),
]
MACHINES = [
    r"spiffe://.*",
    r"service-account-.*",
    r"system:serviceaccount:.*",
    r"\(age!.*",
    r".*@clients",
    r".*\.gserviceaccount\.com",
    r".*client[_-]credentials",
]
MACHINE_WORD = (
    "admin|agents?|api|apps?|batch|bots?|clients?|cron|daemon|jobs?|machine|robot|root|servers?"
    "|services?|svc|system|workers?"
)


def is_clients_own(issuer: Rule, claims: Rule) -> bool:
    """Whether the client got the token for itself."""
    if claims.get("idtyp") == "app" or claims.get("aut") == "APPLICATION":
        return True
    every = [text.lower() for value in claims.values() for text in texts(value)]
    if "client_credentials" in every or "client-credentials" in every:
        return True
    known = [*clients(issuer, claims), *texts(claims.get("aud"))]
    names = [(form % client).lower() for client in known for form in FORMS]
    return any(str(claims.get(name)).lower() in names for name in ("sub", "preferred_username"))


def shows_person(issuer: Rule, claims: Rule) -> bool:
    """Whether a person is seen behind a token that names its agent in a mapped claim."""
    if is_machines(issuer, claims):
        return False
    if "person_shown_by" in issuer:
        return any(
            ("*" in values and claims.get(name)) or set(values) & set(texts(claims.get(name)))
            for name, values in issuer["person_shown_by"].items()
        )
    grants = {*texts(claims.get("grant_type")), *texts(claims.get("gty"))}
    return (
        any(claims.get(name) == kind for name, kind in KINDS.items())
        or any(all(claims.get(name) for name in names.split()) for names in TOGETHER)
        or bool(grants & USER_GRANTS)
        or bool(re.fullmatch(r"[A-Za-z0-9-]+\|.+|\(usr!.+\)", claims["sub"]))
        or is_name(issuer, claims)
    )


def is_machines(issuer: Rule, claims: Rule) -> bool:
    """Whether something in it is a machine's."""
    names = [claims.get(name) for name in ("sub", "preferred_username", "email")]
    return (
        any(name in claims and claims[name] != kind for name, kind in KINDS.items())
        or bool({"clientHost", "clientAddress", "kubernetes.io"} & set(claims))
        or bool({"11", "13"} & set(str(claims.get("xms_sub_fct", "")).split()))
        or claims["sub"] in issuer["actor"]["map"]
        or any(
            re.fullmatch(m, str(n or ""), re.DOTALL | re.IGNORECASE)
            for m in MACHINES
            for n in names
        )
    )


def is_name(issuer: Rule, claims: Rule) -> bool:
    """Whether the subject is a name or an address of letters, and none of the client or agent."""
    local, at, domain = claims["sub"].partition("@")
    if at and not re.fullmatch(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", domain):
        return False
    if not all(re.fullmatch("[A-Za-z]+", word) for word in local.split(".")):
        return False
    actor = issuer["actor"]
    agent = actor["map"][claims[actor["claim"]]].split("/")[-1]
    known = [*clients(issuer, claims), agent]
    taken = set(re.findall("[a-z]+", " ".join(known).lower()))
    words = local.lower().split(".")
    return not any(word in taken or re.fullmatch(MACHINE_WORD, word) for word in words)


def clients(issuer: Rule, claims: Rule) -> Iterator[str]:
    """What the token calls its client."""
    named = ["client_id", "azp", "cid", "appid", "clientId"]
    for name in [*named, issuer.get("actor", {}).get("claim", "azp")]:
        yield from texts(claims.get(name))


def texts(value: Any) -> list[str]:
    """A text, or the texts of a list."""
    values = value if isinstance(value, list) else [value]
    return [one for one in values if isinstance(one, str)]
