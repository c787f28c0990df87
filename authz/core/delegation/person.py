"""Checks whether a person is behind a token, or only its client (RFC 9700 4.15, RFC 9068 5).

A token that a client obtained for itself names the client in the same claims as a user's token;
only its subject differs. Two questions decide, each by a closed list:

- Is it the client's own token? Then the client is the principal, as an agent that acts for itself.
- Otherwise, if only a mapped claim says that somebody delegated: does the token show a person, by
  the operator's claims, or by claims that issuers give to users alone? If not, it is refused.

A token with ``act`` itself says that somebody delegated; that need not be a person.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from authz.core.delegation.actor_settings import ACT
from authz.core.delegation.claims import Claims
from authz.core.delegation.machine_marks import (
    KINDS,
    claim_texts,
    client_names,
    find_machine_mark,
    has_client_grant,
    has_user_context,
    is_machine_word,
    is_service_account,
    names_client,
    split_words,
)
from authz.core.delegation.settings import IssuerSettings
from authz.core.patterns import ANY

_ACTORS: Final = (ACT, "may_act")  # their members are about other parties
_OWN_KINDS: Final = (("idtyp", "app"), ("aut", "APPLICATION"))  # words for the client itself
# Rows of claims that issuers give together if a user authenticated: Okta, Cognito, Entra ID,
# Keycloak.
_SHOWING: Final = (
    ("cid", "uid"),
    ("token_use", "username"),
    ("oid", "scp"),
    ("sid", "preferred_username"),
)
# RFC 9068 section 2.2.1. Cognito and PingAM give it to clients too, but mark those tokens as the
# client's own. authentik gives it to clients without such a mark; its users' tokens have amr or a
# session.
_AUTHENTICATED: Final = "auth_time"
_OF_AUTHENTIK: Final = "goauthentik.io/"
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
_CONNECTION: Final = re.compile(r"([A-Za-z0-9-]+)\|.+")
_USER_SUBJECT: Final = re.compile(r"\(usr!.+\)")
# A person's name, alone or as an e-mail address: alice, alice.smith, alice@corp.example. Clients
# have generated ids, with digits or hyphens, or descriptive words.
_NAME: Final = re.compile(r"([A-Za-z]+(?:\.[A-Za-z]+)*)(?:@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)?")


def is_clients_own(claims: Claims, issuer: IssuerSettings) -> bool:
    """Tell whether a token is its client's own, by its claims or by its subject."""
    return says_clients_own(claims) or names_client(claims.members, issuer)


def is_surely_clients_own(claims: Claims) -> bool:
    """Tell whether an issuer says so in a claim that is about the token, or about clients alone.

    This is enough for tokens that are only accepted from clients: a user may choose any name.
    """
    grants = (claims.members.get(name) for name in _GRANT_CLAIMS)
    return _is_of_app(claims.members) or (claims.may_name_credentials and has_client_grant(grants))


def says_clients_own(claims: Claims) -> bool:
    """Tell whether any claim of a token says that its client obtained it for itself."""
    members = claims.members
    if _is_of_app(members):
        return True
    if claims.may_name_credentials:
        said = (value for name, value in members.items() if name not in _ACTORS)
        return has_client_grant(said)
    return False


def _is_of_app(members: Mapping[str, Any]) -> bool:
    """Tell whether a token has a claim that issuers give to clients and their accounts alone."""
    if any(members.get(name) == kind for name, kind in _OWN_KINDS):
        return True
    if "oid" in members and members["oid"] == members["sub"] and "scp" not in members:
        return True  # Entra ID's apps; for users these differ, or the token has delegated scopes
    return is_service_account(members)


def why_no_person(claims: Claims, issuer: IssuerSettings) -> str:
    """Return why a token does not show that a person is behind it; "" if it does."""
    members = claims.members
    machine = find_machine_mark(members, issuer)
    if machine:
        return f"its {machine} is a machine's"
    if issuer.person_shown_by is not None:
        if any(_has(members, name, words) for name, words in issuer.person_shown_by.items()):
            return ""
        return "no claim of person_shown_by shows that a person is behind it"
    if _shows_person(members, issuer):
        return ""
    return "nothing in it shows that a person is behind it; person_shown_by says what would"


def _shows_person(members: Mapping[str, Any], issuer: IssuerSettings) -> bool:
    """Tell whether a token has a claim or a subject that issuers give to users alone."""
    return (
        any(members.get(name) == kind for name, kind in KINDS)
        or _is_authenticated(members)
        or has_user_context(members)
        or any(all(members.get(name) for name in row) for row in _SHOWING)
        or any(
            not _USER_GRANTS.isdisjoint(claim_texts(members.get(name))) for name in _GRANT_CLAIMS
        )
        or _USER_SUBJECT.fullmatch(members["sub"]) is not None
        or _is_persons_name(members, issuer)
    )


def _is_authenticated(members: Mapping[str, Any]) -> bool:
    """Tell whether a valid ``amr`` (RFC 8176) or ``auth_time`` says that a user authenticated."""
    methods = members.get("amr")
    if any(methods) if isinstance(methods, list) else methods:
        return True
    when, context = members.get(_AUTHENTICATED), members.get("acr")
    is_when = isinstance(when, int | float) and not isinstance(when, bool) and when > 0
    return is_when and not (isinstance(context, str) and context.startswith(_OF_AUTHENTIK))


def _is_persons_name(members: Mapping[str, Any], issuer: IssuerSettings) -> bool:
    """Tell whether the subject is a name, and not that of a client, an agent or a machine."""
    subject = members["sub"]
    name = _NAME.fullmatch(subject)
    connection = _CONNECTION.fullmatch(subject)
    if name is not None:
        words = name[1].lower().split(".")
    elif connection is not None:
        words = connection[1].lower().split("-")
    else:
        return False
    taken = (split_words(client_names(members, issuer)), issuer.actor.words)
    return not any(is_machine_word(word, known) for word in words for known in taken)


def _has(members: Mapping[str, Any], name: str, words: tuple[str, ...]) -> bool:
    """Tell whether a claim is or holds any of the words; "*" is any value that is not empty."""
    value = members.get(name)
    return (ANY in words and bool(value)) or not set(words).isdisjoint(claim_texts(value))
