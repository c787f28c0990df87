"""The arguments of the verbs about consents: consent, consents."""

from typing import TYPE_CHECKING

from authz.cli.parser.adding import add_config, add_json, add_verb, end_help
from authz.cli.parser.entries import add_by, add_changes, add_source
from authz.cli.parser.types import a_later_moment, a_text, json_object

if TYPE_CHECKING:
    from authz.cli.parser.adding import Verbs


def add_verbs(verbs: "Verbs") -> None:
    """Add the verbs consent and consents."""
    _add_consent(verbs)
    _add_consents(verbs)


def _add_consent(verbs: "Verbs") -> None:
    consent = add_verb(
        verbs,
        "consent",
        "consent",
        "record that a principal lets an agent act for it, until a time, at the token service",
    )
    end_help(
        consent,
        "authz consent authz.yaml --issuer https://as.corp.example --subject alice"
        " --agent spiffe://corp.example/ns/agents/sa/travel --scope trips:book --for 30d",
        status="0 given, 1 that failed, or the config is invalid, 2 usage",
        note="This adds a line to the store of the config, or without a store to its file"
        " (consents.file). It is for those who have asked the principal: nothing proves it here.",
    )
    add_config(consent)
    add = consent.add_argument
    add("--issuer", metavar="ISS", type=a_text, required=True, help="the principal's issuer")
    add("--subject", metavar="SUB", type=a_text, required=True, help="the principal (sub)")
    add("--agent", metavar="ID", type=a_text, required=True, help="the agent's SPIFFE ID")
    add(
        "--audience",
        metavar="AUD",
        type=a_text,
        action="append",
        help="for tokens for this audience alone; repeatable; default: any that rules allow",
    )
    add(
        "--scope",
        metavar="SCOPE",
        type=a_text,
        action="append",
        help="for tokens with this scope; repeatable; default: any that rules allow, and with"
        " --details none",
    )
    add(
        "--details",
        metavar="JSON",
        type=json_object,
        help="for this one call: an object of authorization_details (RFC 9396); needs --audience",
    )
    add(
        "--until",
        "--for",
        metavar="TIME",
        type=a_later_moment,
        required=True,
        help="the consent ends at this time, or after a duration such as 30d",
    )
    tokens = consent.add_mutually_exclusive_group()
    tokens.add_argument(
        "--once",
        action="store_true",
        help="for one token alone; then it is used up; the default with --details",
    )
    tokens.add_argument(
        "--many-tokens",
        action="store_true",
        help="with --details: for token after token until it ends, all of them for one such call",
    )
    add("--note", metavar="TEXT", type=a_text, help="why, or how the principal was asked")
    add_by(consent)
    add_source(consent, "write", "the store if there is one, else the file")
    add(
        "--force",
        action="store_true",
        help="for an agent or an issuer that the config does not know",
    )
    add_json(consent)


def _add_consents(verbs: "Verbs") -> None:
    listing = add_verb(
        verbs, "consents", "consents", "list the consents of principals, and take them back"
    )
    end_help(
        listing,
        "authz consents authz.yaml",
        "authz consents authz.yaml --issuer https://as.corp.example --subject alice --take-back",
        "authz consents authz.yaml --history",
        status="0 listed or taken back, 1 an entry is invalid, or the file or the store can't be "
        "read or written, 2 usage, or no consent is what the flags name",
    )
    add_config(listing)
    add = listing.add_argument
    add("--issuer", metavar="ISS", type=a_text, help="the consents of this issuer's principals")
    add("--subject", metavar="SUB", type=a_text, help="the consents of this principal (sub)")
    add("--agent", metavar="ID", type=a_text, help="the consents for this agent")
    add("--id", metavar="ID", action="append", help="the one with this id, as listed; repeatable")
    add(
        "--take-back",
        action="store_true",
        help="take all consents back that have what the flags name",
    )
    add_changes(listing)
