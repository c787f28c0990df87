"""Whose token it is: a person's, the client's own, or nobody's that it shows."""

import re
from collections.abc import Iterator
from typing import Any

from support.docs_model.agents import claims_of, stands_for
from support.docs_model.asked import Rule

FORMS = ["%s", "%s@clients", "service-account-%s", "(age!%s)"]
SUBJECTS = ["sub", "preferred_username", "username", "user_name", "uid", "upn", "unique_name"]
KINDS = {"idtyp": "user", "sub_profile": "user", "sub_type": "user", "aut": "APPLICATION_USER"}
USER_GRANTS = {
    "authorization_code",
    "password",
    "implicit",
    "urn:ietf:params:oauth:grant-type:device_code",
}
TOGETHER = ["cid uid", "token_use username", "oid scp", "sid preferred_username"]
CONTEXT = "(on|of|tr|nt|ft)(rt|lt)"  # what Keycloak begins a jti with
GRANT = r"client[\s_-]?credentials"
MACHINES = [
    r"spiffe://.*",
    r"service-account-.*",
    r"system:.*",
    r"\(age!.*",
    r".*@clients",
    r".*\.gserviceaccount\.com",
    rf".*{GRANT}",
]
MACHINE_WORD = (
    "account|admin|agent|api|app|application|automation|backup|batch|bot|client|crawler|cron"
    "|daemon|deploy|device|gateway|importer|integration|job|m2m|machine|monitor|nightly|operator"
    "|pipeline|proxy|report|robot|root|runner|scheduler|script|server|service|svc|sync|system"
    "|task|web|webhook|worker|workflow|workload"
)


def is_clients_own(issuer: Rule, claims: Rule) -> bool:
    """Whether the client got the token for itself."""
    known = [*clients(issuer, claims), *texts(claims.get("aud"))]
    return says_clients_own(claims) or is_one_of(known, claims)


def surely_clients_own(claims: Rule) -> bool:
    """Whether a claim about the token itself, or about clients alone, says so."""
    grants = {name: claims[name] for name in ("grant_type", "gty") if name in claims}
    return is_of_app(claims) or names_grant(grants)


def says_clients_own(claims: Rule) -> bool:
    """Whether it says so otherwise than by a client's name."""
    others = {name: claims[name] for name in claims if name not in ("act", "may_act")}
    return is_of_app(claims) or names_grant(others)


def is_of_app(claims: Rule) -> bool:
    """Whether it has a claim that only clients' tokens have."""
    if claims.get("idtyp") == "app" or claims.get("aut") == "APPLICATION":
        return True
    if claims.get("oid") == claims["sub"] and "scp" not in claims:
        return True
    if {"clientHost", "clientAddress"} & set(claims):
        return True
    return began_with(rf"({CONTEXT}cc|tr(rt|lt)te):", claims)


def names_grant(claims: Rule) -> bool:
    """Whether any of these claims has the client credentials grant in it."""
    said = [text for name in claims for text in deep(claims[name])]
    words = [word for text in said for word in (text, *re.split(r"[\s,;]+", text))]
    return any(re.fullmatch(rf"(.*:)?{GRANT}", word, re.IGNORECASE | re.DOTALL) for word in words)


def began_with(how: str, claims: Rule) -> bool:
    """Whether the token's id says that it was got so."""
    return any(re.match(how, text) for text in [claims.get("jti")] if isinstance(text, str))


def is_one_of(known: list[str], claims: Rule) -> bool:
    """Whether the subject has a name of one of these clients."""
    names = [(form % client).lower() for client in known for form in FORMS]
    return any(text.lower() in names for name in SUBJECTS for text in texts(claims.get(name)))


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
        or is_signed_in(claims)
        or began_with(f"{CONTEXT}(ac|ro|dg|ci):", claims)
        or bool(re.fullmatch(r"\(usr!.+\)", claims["sub"]))
        or is_name(issuer, claims)
    )


def is_signed_in(claims: Rule) -> bool:
    """Whether it says how a user signed in, or when."""
    methods = claims.get("amr")
    if isinstance(methods, list):
        methods = [one for one in methods if one]
    when = claims.get("auth_time")
    is_number = type(when) in (int, float) and float(when or 0) > 0
    is_authentik = str(claims.get("acr")).startswith("goauthentik.io/")
    return bool(methods) or (is_number and not is_authentik)


def is_machines(issuer: Rule, claims: Rule) -> bool:
    """Whether something in it is a machine's."""
    names = [text for name in (*SUBJECTS, "email") for text in texts(claims.get(name))]
    facets = claims.get("xms_sub_fct", "")
    listed = facets if isinstance(facets, list) else [facets]
    return (
        any(name in claims and claims[name] != kind for name, kind in KINDS.items())
        or "kubernetes.io" in claims
        or bool({"11", "13"} & {word for one in listed for word in str(one).split()})
        or stands_for(issuer, claims["sub"]) is not None
        or is_one_of(list(issuer["actor"].get("map", {})), claims)
        or any(re.fullmatch(m, n, re.DOTALL | re.IGNORECASE) for m in MACHINES for n in names)
    )


def is_name(issuer: Rule, claims: Rule) -> bool:
    """Whether the subject is a name or an address of letters, and none of a client or agent.

    Or one at a connection whose name has no such word either.
    """
    connection = re.fullmatch(r"([A-Za-z0-9-]+)\|.+", claims["sub"])
    local, at, domain = claims["sub"].partition("@")
    if not connection and at and not re.fullmatch(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", domain):
        return False
    words = connection[1].lower().split("-") if connection else local.lower().split(".")
    if not connection and not all(re.fullmatch("[A-Za-z]+", word) for word in local.split(".")):
        return False
    mapped = issuer["actor"].get("map", {})
    agents = [agent.split("/")[-1] for agent in mapped.values()]
    known = [*clients(issuer, claims), *mapped, *agents]
    taken = set(re.findall("[a-z]+", " ".join(known).lower()))
    machine = re.compile(f"(({MACHINE_WORD})(s|er|ing)?)+")
    return not any(
        machine.fullmatch(word)
        or word in taken
        or any(word.startswith(one) for one in taken if len(one) >= 4)
        for word in words
    )


def clients(issuer: Rule, claims: Rule) -> Iterator[str]:
    """What the token calls its client."""
    named = ["client_id", "azp", "cid", "appid", "clientId"]
    for name in [*named, *claims_of(issuer)]:
        yield from texts(claims.get(name))


def texts(value: Any) -> list[str]:
    """A text, or the texts of a list."""
    values = value if isinstance(value, list) else [value]
    return [one for one in values if isinstance(one, str)]


def deep(value: Any) -> Iterator[str]:
    """The texts in a value, at any depth."""
    if isinstance(value, list | dict):
        for one in value.values() if isinstance(value, dict) else value:
            yield from deep(one)
    elif isinstance(value, str):
        yield value
