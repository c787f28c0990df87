"""Translates the names of keys in other products, so that a message can suggest our name."""

from collections.abc import Collection, Mapping
from typing import Final

# By a name without "_", "-" and capitals: our keys that it may mean, the likeliest first.
_OURS: Final[Mapping[str, tuple[str, ...]]] = {
    "providers": ("issuers",),
    "jwtrules": ("issuers",),
    "identityproviders": ("issuers",),
    "rules": ("grants",),
    "policies": ("grants",),
    "permissions": ("grants",),
    "roles": ("grants",),
    "users": ("principals", "subjects"),
    "subject": ("subjects",),
    "clients": ("agents",),
    "workloads": ("agents",),
    "spiffeid": ("id",),
    "cert": ("certificate",),
    "certfile": ("certificate",),
    "tlscert": ("certificate",),
    "key": ("private_key",),
    "keyfile": ("private_key",),
    "tlskey": ("private_key",),
    "ca": ("client_ca", "ca_file"),
    "cacert": ("client_ca", "ca_file"),
    "cafile": ("client_ca", "ca_file"),
    "allowedsans": ("allowed_callers",),
    "address": ("listen",),
    "addr": ("listen",),
    "bind": ("listen",),
    "jwks": ("jwks_uri",),
    "jwksurl": ("jwks_uri",),
    "remotejwks": ("jwks_uri",),
    "localjwks": ("file",),
    "wellknown": ("discovery_url",),
    "iss": ("issuer",),
    "aud": ("audiences",),
    "alg": ("algorithms",),
    "algs": ("algorithms",),
    "verbs": ("methods",),
    "operations": ("methods",),
    "urls": ("paths",),
    "uris": ("paths",),
    "prefixes": ("paths",),
    "domains": ("hosts",),
    "hostnames": ("hosts",),
    "action": ("effect",),
    "decision": ("effect",),
    "condition": ("when",),
    "conditions": ("when",),
    "cel": ("when",),
    "expression": ("when",),
    "dryrun": ("shadow",),
    "auditonly": ("shadow",),
    "opa": ("pdp",),
    "auditlog": ("audit",),
}
_IN_KEYS: Final = "the keys' place is a part of keys: write keys: {jwks_uri: https://...}"
_NO_SECRET: Final = (
    "no secret stands in this file, and HMAC is never accepted: keys are public, at jwks_uri or in"
    " a file"
)
_NOT_A_RESOURCE: Final = "this file is not a Kubernetes object: leave it out"
# Settings that are elsewhere, or must not exist.
_ADVICE: Final[Mapping[str, str]] = {
    "apiversion": _NOT_A_RESOURCE,
    "kind": _NOT_A_RESOURCE,
    "metadata": _NOT_A_RESOURCE,
    "loglevel": "say it at the start: authz serve --log-level debug",
    "port": "it is a part of listen, as in listen: 0.0.0.0:9191",
    "allow": "in a rule effect says it, and allow is the default; rules stand in grants",
    "deny": "in a rule write effect: deny; rules stand in grants",
    "secret": _NO_SECRET,
    "clientsecret": _NO_SECRET,
    "hmacsecret": _NO_SECRET,
    "chain": "it is a part of audit: write audit: {chain: {key: ...}}",
    "sinks": "it is a part of audit: write audit: {sinks: [...]}",
    "redact": "it is a part of audit: write audit: {redact: {...}}",
    "witnesses": "it is a part of chain: write chain: {witnesses: [...]}",
    "jwksuri": _IN_KEYS,
    "discovery": _IN_KEYS,
}


def ours(name: str, known: Collection[str]) -> str:
    """Return the known key that another product's name means, "" if there is none."""
    meant = _OURS.get(_plain(name), ())
    return next((key for key in meant if key in known), "")


def advice(name: str, known: Collection[str]) -> str:
    """Return ``; here it is called X``, or where to set what another product's key sets; or ""."""
    if key := ours(name, known):
        return f"; here it is called {key}"
    words = _ADVICE.get(_plain(name), "")
    is_slip = any(_plain(key) == _plain(name) for key in known)
    return f"; {words}" if words and not is_slip else ""


def _plain(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()
