"""Finds marks of machines: claims that only tokens of clients, service accounts and agents have.

The list of marks can never be complete, so a mark can only refuse: a token without a mark may still
be a machine's.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from authz.core.delegation.actor_settings import ActorSettings
from authz.core.delegation.settings import IssuerSettings
from authz.core.strict_json import nested_values, of_type

# Claims that name the client: RFC 8693 section 4.3, OIDC Core 2, Okta, Entra ID v1, Keycloak. Some
# issuers name it in aud alone (ServiceNow, Laravel Passport).
_CLIENT_CLAIMS: Final = ("client_id", "azp", "cid", "appid", "clientId")
# Prefixes and suffixes of a client's id as a subject: Auth0, Keycloak, PingAM.
_CLIENT_SUBJECTS: Final = (("", "@clients"), ("service-account-", ""), ("(age!", ")"))
# Claims that name the subject: OIDC's, Cognito's and Keycloak's, UAA's, Okta's, Entra ID's.
_SUBJECT_CLAIMS: Final = (
    *("sub", "preferred_username", "username", "user_name"),
    *("uid", "upn", "unique_name"),
)
# The grant of RFC 6749 section 4.4.2; with a hyphen at Auth0, as one word in .NET.
_CLIENT_GRANT: Final = re.compile(r"(.*:)?client[\s_-]?credentials", re.DOTALL | re.IGNORECASE)
_ENDS_IN_GRANT: Final = re.compile(r"client[\s_-]?credentials\Z", re.IGNORECASE)
_CREDENTIALS: Final = "credentials"
_BETWEEN: Final = re.compile(r"[\s,;]+")
# Claims that classify the subject, and their word for a person: Entra ID, the actor profile
# (Auth0), Oracle, WSO2. Any other word means a machine.
KINDS: Final = (
    ("idtyp", "user"),
    ("sub_profile", "user"),
    ("sub_type", "user"),
    ("aut", "APPLICATION_USER"),
)
_OF_MACHINES: Final = "kubernetes.io"  # a claim that only tokens of machines have
_OF_ACCOUNTS: Final = ("clientHost", "clientAddress")  # of Keycloak's service accounts alone
# The prefix of Keycloak's jti: the kind of session, of token and of grant. With client credentials,
# or with a token exchange without a user's session, the token is the client's own.
_CONTEXT: Final = re.compile(r"(?:on|of|tr|nt|ft)(?:rt|lt)[a-z]{2}:")
_OWN_CONTEXT: Final = re.compile(r"..(?:rt|lt)cc:|tr(?:rt|lt)te:")
_USER_CONTEXT: Final = re.compile(r"..(?:rt|lt)(?:ac|ro|dg|ci):")
_MACHINE_NAMES: Final = (
    ("spiffe://", "service-account-", "system:", "(age!"),  # prefixes
    ("@clients", ".gserviceaccount.com"),  # suffixes; authentik's ends in the grant
)
_FACETS: Final = "xms_sub_fct"  # Entra ID: words, of which these are agents and their accounts
_MACHINE_FACETS: Final = frozenset({"11", "13"})
_WORD: Final = re.compile(r"[a-z]+")
_MIN_STEM_CHARS: Final = 4  # shorter words are prefixes of too many names
_MACHINE_WORD: Final = re.compile(
    r"(?:(?:account|admin|agent|api|app|application|automation|backup|batch|bot|client|crawler"
    r"|cron|daemon|deploy|device|gateway|importer|integration|job|m2m|machine|monitor|nightly"
    r"|operator|pipeline|proxy|report|robot|root|runner|scheduler|script|server|service|svc|sync"
    r"|system|task|web|webhook|worker|workflow|workload)(?:s|er|ing)?)+"
)


def names_client(members: Mapping[str, Any], issuer: IssuerSettings) -> bool:
    """Tell whether the token's subject is its client, by the client's id or a form of it."""
    clients = client_names(members, issuer)
    clients.update(_lower(members.get("aud")))
    return not clients.isdisjoint(_clients_meant(members))


def token_context(jti: object) -> str:
    """Return how a token was obtained, by the prefix of Keycloak's ``jti``; "" for other issuers.

    Many tokens share the prefix, so it is not unique as an id is.
    """
    match = _CONTEXT.match(jti) if isinstance(jti, str) else None
    return match[0] if match else ""


def is_service_account(members: Mapping[str, Any]) -> bool:
    """Tell whether a token belongs to a service account of Keycloak, and so is a client's own."""
    if any(name in members for name in _OF_ACCOUNTS):
        return True
    return _OWN_CONTEXT.match(token_context(members.get("jti"))) is not None


def has_user_context(members: Mapping[str, Any]) -> bool:
    """Tell whether a user authenticated for a token, as the ``jti`` of Keycloak says."""
    return _USER_CONTEXT.match(token_context(members.get("jti"))) is not None


def may_name_credentials(text: bytes) -> bool:
    """Tell whether this JSON may hold the client credentials grant; never False if it does.

    An escape may stand for a letter, and a letter beyond ASCII may be one of these in lower case.
    """
    return _CREDENTIALS.encode() in text.lower() or b"\\" in text or not text.isascii()


def has_client_grant(values: Iterable[object]) -> bool:
    """Tell whether any of the claims is or holds the client credentials grant, in any spelling.

    Runs level by level, mostly in C: a token may hold thousands of texts.
    """
    level = list(values)
    while level:
        texts = of_type(str, level)
        is_near = _CREDENTIALS in "\n".join(texts).lower()
        if is_near and any(map(_CLIENT_GRANT.fullmatch, _words(texts))):
            return True
        level = nested_values(level)
    return False


def find_machine_mark(members: Mapping[str, Any], issuer: IssuerSettings) -> str:
    """Return the name of a claim that marks a machine, or ""."""
    for name, kind in KINDS:
        if name in members and members[name] != kind:
            return name
    if _OF_MACHINES in members:
        return _OF_MACHINES
    if not _MACHINE_FACETS.isdisjoint(_facets(members.get(_FACETS))):
        return _FACETS
    if _is_agents_account(members, issuer.actor):
        return "sub"
    begins, ends = _MACHINE_NAMES
    for name in (*_SUBJECT_CLAIMS, "email"):
        for text in _lower(members.get(name)):
            if text.startswith(begins) or text.endswith(ends) or _ENDS_IN_GRANT.search(text):
                return name
    return ""


def _is_agents_account(members: Mapping[str, Any], actors: ActorSettings) -> bool:
    """Tell whether the subject stands for an agent, or is made from a value that does."""
    if actors.agent_of(members["sub"]) is not None:
        return True
    return not actors.names.isdisjoint(_clients_meant(members))


def client_names(members: Mapping[str, Any], issuer: IssuerSettings) -> set[str]:
    """Return the names of the token's client, in lower case as in Keycloak's accounts."""
    found: set[str] = set()
    for claim in (*issuer.actor.claim, *_CLIENT_CLAIMS):
        if claim in members:
            found.update(_lower(members[claim]))
    return found


def is_machine_word(word: str, known: Collection[str]) -> bool:
    """Tell whether a lower-case word means a machine, or occurs in names of clients and agents.

    ``known`` are the words of these names; a word that begins with a long enough known word counts.
    """
    stems = (word[:length] for length in range(_MIN_STEM_CHARS, len(word) + 1))
    return (
        word in known
        or _MACHINE_WORD.fullmatch(word) is not None
        or any(stem in known for stem in stems)
    )


def split_words(texts: Collection[str]) -> frozenset[str]:
    """Return the words in lower-case texts."""
    return frozenset(_WORD.findall(" ".join(texts)))


def _clients_meant(members: Mapping[str, Any]) -> Iterator[str]:
    """Yield the ids of clients from which the claims that name the subject could be made."""
    for name in _SUBJECT_CLAIMS:
        if name not in members:
            continue
        for subject in _lower(members[name]):
            yield subject
            for prefix, suffix in _CLIENT_SUBJECTS:
                if subject.startswith(prefix) and subject.endswith(suffix):
                    yield subject[len(prefix) : len(subject) - len(suffix)]


def _words(texts: Iterable[str]) -> Iterator[str]:
    """Yield the texts, and the words of each."""
    for text in texts:
        yield text
        yield from _BETWEEN.split(text)


def _facets(value: object) -> set[str]:
    """Return the words of a text, a number or a list."""
    values = value if isinstance(value, list) else [value]
    return {word for item in values for word in str(item).split()}


def _lower(value: object) -> Sequence[str]:
    if isinstance(value, str):
        return (value.lower(),)
    return [text.lower() for text in claim_texts(value)]


def claim_texts(value: object) -> Sequence[str]:
    """Return a claim's text, or the texts in its list."""
    if isinstance(value, str):
        return (value,)
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else ()
