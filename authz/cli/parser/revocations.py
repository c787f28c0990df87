"""The arguments of the verbs about revocations: revoke, revocations."""

from typing import TYPE_CHECKING

from authz.cli.parser.adding import add_config, add_json, add_verb, end_help
from authz.cli.parser.types import a_time

if TYPE_CHECKING:
    from authz.cli.parser.adding import Verbs


def add_verbs(verbs: "Verbs") -> None:
    """Add the verbs revoke and revocations."""
    _add_revoke(verbs)
    _add_revocations(verbs)


def _add_revoke(verbs: "Verbs") -> None:
    revoke = add_verb(
        verbs, "revoke", "revoke", "revoke an agent, a principal's tokens or a single token"
    )
    end_help(
        revoke,
        "authz revoke authz.yaml --issuer https://as.corp.example --subject alice --note left",
        "authz revoke authz.yaml --agent spiffe://corp.example/ns/agents/sa/travel",
        status="0 revoked, 1 that failed, or the config is invalid, 2 usage",
        note="This appends a line to the revocation file (revocations.file in the config).",
    )
    add_config(revoke)
    revoke.add_argument(
        "--agent",
        metavar="ID",
        help="revoke this agent, by its SPIFFE ID; no other flag goes with it but --note",
    )
    revoke.add_argument(
        "--issuer", metavar="ISS", help="revoke tokens of this issuer; all of them if given alone"
    )
    revoke.add_argument(
        "--subject", metavar="SUB", help="revoke only the tokens of this principal (sub)"
    )
    revoke.add_argument("--token-id", metavar="JTI", help="revoke only the token with this jti")
    revoke.add_argument(
        "--before",
        metavar="TIME",
        type=a_time,
        help="revoke tokens issued before this time; default: now",
    )
    revoke.add_argument("--note", metavar="TEXT", help="a note for people")
    revoke.add_argument(
        "--force",
        action="store_true",
        help="revoke an agent or an issuer that the config does not know",
    )
    add_json(revoke)


def _add_revocations(verbs: "Verbs") -> None:
    listing = add_verb(
        verbs, "revocations", "revocations", "list what is revoked, and take revocations back"
    )
    end_help(
        listing,
        "authz revocations authz.yaml",
        "authz revocations authz.yaml --issuer https://as.corp.example --subject alice --take-back",
        status="0 listed or taken back, 1 the file has an invalid line or can't be read or "
        "written, 2 usage, or it is not certain which entry --take-back means; nothing is taken "
        "back then",
    )
    add_config(listing)
    add = listing.add_argument
    add("--agent", metavar="ID", help="the entries of this agent alone")
    add("--issuer", metavar="ISS", help="the entries of this issuer alone")
    add("--subject", metavar="SUB", help="the entries of this principal (sub) alone")
    add("--token-id", metavar="JTI", help="the entry of the token with this jti alone")
    add("--id", metavar="ID", action="append", help="the entry with this id, as listed; repeatable")
    add(
        "--take-back",
        action="store_true",
        help="take the entry back that revokes exactly what the flags name, or those with an --id",
    )
    add_json(listing)
