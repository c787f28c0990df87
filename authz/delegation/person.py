"""Whether a person is behind a token, or its client alone (RFC 9700 section 4.15, RFC 9068 5).

A token that a client got for itself names the client wherever a user's token names the client too;
only its subject is another. Two questions are asked of it, and both answers are closed:

- Is it the client's own? Then the client is the principal, as the agent that acts for itself.
- Else, where nothing but a mapped claim says that somebody delegated: does it show a person? By
  what the operator says, or by what issuers give to users alone. What shows none is nobody's.

A token with ``act`` says of itself that somebody delegated; who that is need be no person.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from authz.delegation.claims import Claims
from authz.delegation.settings import IssuerSettings
from authz.patterns import ANY

# Claims that name the client: RFC 8693 section 4.3, OIDC Core 2, Okta, Entra ID v1, Keycloak. Some
# issuers have it in aud alone (ServiceNow, Laravel Passport).
_CLIENT_CLAIMS: Final = ("client_id", "azp", "cid", "appid", "clientId")
_AUDIENCE: Final = "aud"
# What a client is named with, as a subject, beside its id: by Auth0, Keycloak, PingAM.
_CLIENT_SUBJECTS: Final = (("", "@clients"), ("service-account-", ""), ("(age!", ")"))
_SUBJECT_CLAIMS: Final = ("sub", "preferred_username")
_CLIENT_GRANT: Final = "client_credentials"  # RFC 6749 section 4.4.2; Auth0 has a hyphen
# Where an issuer says what the subject is, and its word for a person: Entra ID, the actor profile
# (Auth0), Oracle, WSO2. Any other word is one for a machine.
_KINDS: Final = (
    ("idtyp", "user"),
    ("sub_profile", "user"),
    ("sub_type", "user"),
    ("aut", "APPLICATION_USER"),
)
_OWN_KINDS: Final = (("idtyp", "app"), ("aut", "APPLICATION"))  # words for the client itself
# Claims that only tokens of machines have: Keycloak's service accounts, Kubernetes.
_OF_MACHINES: Final = ("clientHost", "clientAddress", "kubernetes.io")
_MACHINE_NAMES: Final = (
    ("spiffe://", "service-account-", "system:serviceaccount:", "(age!"),  # how they begin
    ("@clients", ".gserviceaccount.com", _CLIENT_GRANT),  # and end
)
_FACETS: Final = "xms_sub_fct"  # Entra ID: words, of which these are agents and their accounts
_MACHINE_FACETS: Final = frozenset({"11", "13"})
# Claims, all of a row, that issuers give where a user authenticated: RFC 9068 section 2.2.1, RFC
# 8176, Okta, Cognito, Entra ID, Keycloak. Cognito and PingAM give auth_time to clients too, but say
# of those tokens that they are the client's own.
_SHOWING: Final = (
    ("auth_time",),
    ("amr",),
    ("cid", "uid"),
    ("token_use", "username"),
    ("oid", "scp"),
    ("sid", "preferred_username"),
)
_GRANT_CLAIMS: Final = ("grant_type", "gty")
_USER_GRANTS: Final = frozenset(
    {
        "authorization_code",
        "password",
        "implicit",
        "urn:ietf:params:oauth:grant-type:device_code",
    }
)
# Subjects of users: Auth0's connection|id, PingAM's (usr!name).
_USER_SUBJECT: Final = re.compile(r"[A-Za-z0-9-]+\|.+|\(usr!.+\)")
# A person's name, alone or as an e-mail address: alice, alice.smith, alice@corp.example. Clients
# are named by ids that were made, with digits or hyphens, or by words that tell what they are.
_NAME: Final = re.compile(r"([A-Za-z]+(?:\.[A-Za-z]+)*)(?:@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)?")
_WORD: Final = re.compile(r"[a-z]+")
_MACHINE_WORD: Final = re.compile(
    r"admin|agents?|api|apps?|batch|bots?|clients?|cron|daemon|jobs?|machine|robot|root"
    r"|servers?|services?|svc|system|workers?"
)


def is_clients_own(claims: Claims, issuer: IssuerSettings) -> bool:
    """Whether a token is the one that its client got for itself, as far as it says so."""
    members = claims.members
    if any(members.get(name) == kind for name, kind in _OWN_KINDS):
        return True
    if _has_client_grant(members.values()):
        return True
    clients = _client_names(members, issuer)
    clients.update(_lower(members.get(_AUDIENCE)))
    subjects = (subject for name in _SUBJECT_CLAIMS for subject in _lower(members.get(name)))
    return any(not clients.isdisjoint(_clients_in(subject)) for subject in subjects)


def why_no_person(claims: Claims, issuer: IssuerSettings) -> str:
    """What is missing for a token to show that a person is behind it; "" when it does."""
    members = claims.members
    machine = _machine_mark(members, issuer)
    if machine:
        return f"its {machine} is a machine's"
    if issuer.person_shown_by is not None:
        if any(_has(members, name, words) for name, words in issuer.person_shown_by.items()):
            return ""
        return "no claim of person_shown_by shows that a person is behind it"
    if _shows_person(members, issuer):
        return ""
    return "nothing in it shows that a person is behind it; person_shown_by says what would"


def _machine_mark(members: Mapping[str, Any], issuer: IssuerSettings) -> str:
    """The claim that is one of a machine, or ""."""
    for name, kind in _KINDS:
        if name in members and members[name] != kind:
            return name
    for name in _OF_MACHINES:
        if name in members:
            return name
    if not _MACHINE_FACETS.isdisjoint(str(members.get(_FACETS, "")).split()):
        return _FACETS
    if members["sub"] in issuer.actor.map:
        return "sub"
    begins, ends = _MACHINE_NAMES
    for name in (*_SUBJECT_CLAIMS, "email"):
        text = _folded(members[name]) if _is_text(members, name) else ""
        if text.startswith(begins) or text.endswith(ends):
            return name
    return ""


def _shows_person(members: Mapping[str, Any], issuer: IssuerSettings) -> bool:
    """Whether a token has what issuers give to users alone."""
    return (
        any(members.get(name) == kind for name, kind in _KINDS)
        or any(all(members.get(name) for name in row) for row in _SHOWING)
        or any(not _USER_GRANTS.isdisjoint(_texts(members.get(one))) for one in _GRANT_CLAIMS)
        or _USER_SUBJECT.fullmatch(members["sub"]) is not None
        or _is_persons_name(members, issuer)
    )


def _is_persons_name(members: Mapping[str, Any], issuer: IssuerSettings) -> bool:
    """Whether the subject is a name, and none that the client, its agent or a machine has."""
    name = _NAME.fullmatch(members["sub"])
    if name is None:
        return False
    agent = issuer.actor.map.get(str(members.get(issuer.actor.claim)), "").rpartition("/")[2]
    taken = _WORD.findall(" ".join([*_client_names(members, issuer), agent.lower()]))
    words = name[1].lower().split(".")
    return not any(word in taken or _MACHINE_WORD.fullmatch(word) for word in words)


def _client_names(members: Mapping[str, Any], issuer: IssuerSettings) -> set[str]:
    """What the token calls its client, in lower case: Keycloak writes its accounts so."""
    found = set(_lower(members.get(issuer.actor.claim)))
    for claim in _CLIENT_CLAIMS:
        if claim in members:
            found.update(_lower(members[claim]))
    return found


def _clients_in(subject: str) -> Sequence[str]:
    """The ids of clients that a subject could be made of."""
    found = [subject]
    for prefix, suffix in _CLIENT_SUBJECTS:
        if subject.startswith(prefix) and subject.endswith(suffix):
            found.append(subject[len(prefix) : len(subject) - len(suffix)])
    return found


def _has_client_grant(values: Iterable[object]) -> bool:
    """Whether one of the claims is the client grant, or a list with it."""
    for value in values:
        if isinstance(value, str):
            if len(value) == len(_CLIENT_GRANT) and _folded(value) == _CLIENT_GRANT:
                return True
        elif isinstance(value, list) and _has_client_grant(value):
            return True
    return False


def _folded(text: str) -> str:
    """In one spelling of the client grant."""
    return text.lower().replace("client-credentials", _CLIENT_GRANT)


def _has(members: Mapping[str, Any], name: str, words: tuple[str, ...]) -> bool:
    """Whether a claim is, or holds, one of the words; for "*" whether it says anything at all."""
    value = members.get(name)
    return (ANY in words and bool(value)) or not set(words).isdisjoint(_texts(value))


def _lower(value: object) -> Sequence[str]:
    return [text.lower() for text in _texts(value)]


def _is_text(members: Mapping[str, Any], name: str) -> bool:
    return isinstance(members.get(name), str)


def _texts(value: object) -> Sequence[str]:
    """A claim's text, or those in its list."""
    if isinstance(value, str):
        return (value,)
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else ()
