"""The arguments of the verbs about revocations: revoke, revocations."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from authz.cli.parser.adding import add_config, add_json, add_verb, end_help
from authz.cli.parser.entries import add_by, add_changes, add_source
from authz.cli.parser.types import a_later_moment, a_text, a_time

if TYPE_CHECKING:
    import argparse

    from authz.cli.parser.adding import Verbs


class _Revoked(NamedTuple):
    """A flag for what an entry revokes; ``value`` is "" for a flag that takes none."""

    flag: str
    value: str
    to_revoke: str
    to_list: str


_REVOKED: Final = (
    _Revoked(
        *("--agent", "ID", "revoke this agent, by its SPIFFE ID"),
        "the entries of this agent alone",
    ),
    _Revoked(
        *("--issuer", "ISS", "revoke tokens of this issuer; all of them if given alone"),
        "the entries of this issuer alone",
    ),
    _Revoked(
        *("--subject", "SUB", "revoke only the tokens of this principal (sub)"),
        "the entries of this principal (sub) alone",
    ),
    _Revoked(
        *("--email", "EMAIL", "revoke only the tokens with this email (claim email)"),
        "the entries of this email alone",
    ),
    _Revoked(
        *("--session", "SID", "revoke only the tokens of this session (claim sid)"),
        "the entries of this session (sid) alone",
    ),
    _Revoked(
        *("--token-id", "JTI", "revoke only the token with this jti"),
        "the entry of the token with this jti alone",
    ),
    _Revoked(
        *("--tool", "NAME", "stop every call of this tool, whoever calls it"),
        "the entries of this tool alone",
    ),
    _Revoked(
        *("--everything", ""),
        "stop everything: refuse every request until it is taken back; needs --note",
        "the entries that stop everything alone",
    ),
)


def add_verbs(verbs: "Verbs") -> None:
    """Add the verbs revoke and revocations."""
    _add_revoke(verbs)
    _add_revocations(verbs)


def _add_revoke(verbs: "Verbs") -> None:
    revoke = add_verb(
        verbs,
        "revoke",
        "revoke",
        "revoke an agent, a principal's tokens or a single token; stop a tool, or everything",
    )
    end_help(
        revoke,
        "authz revoke authz.yaml --issuer https://as.corp.example --subject alice --note left",
        "authz revoke authz.yaml --agent spiffe://corp.example/ns/agents/sa/travel",
        'authz revoke authz.yaml --tool transfer_money --expires 2h --note "incident 4711"',
        'authz revoke authz.yaml --everything --note "incident 4711"',
        status="0 revoked, 1 that failed, wholly or in one of the two places, or the config is "
        "invalid, 2 usage",
        note="This adds an entry to the store of the config and to its revocation file "
        "(revocations.file), to each that it has.",
    )
    add_config(revoke)
    add = revoke.add_argument
    _add_revoked(revoke, lambda each: each.to_revoke)
    add(
        "--before",
        metavar="TIME",
        type=a_time,
        help="revoke tokens issued before this time; default: now, and with --session any time",
    )
    add(
        "--any-time",
        action="store_true",
        help="revoke tokens whenever they are issued, also later ones, until it is taken back",
    )
    add(
        "--expires",
        metavar="TIME",
        type=a_later_moment,
        help="the revocation ends by itself at this time, or after a duration such as 2h",
    )
    add("--note", metavar="TEXT", type=a_text, help="why, for people")
    add_by(revoke)
    add_source(revoke, "revoke")
    add(
        "--force",
        action="store_true",
        help="revoke an agent, an issuer or a tool that the config does not know",
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
        'authz revocations authz.yaml --everything --take-back --note "incident 4711 is over"',
        "authz revocations authz.yaml --history",
        status="0 listed or taken back, 1 an entry is invalid, or the file or the store can't be "
        "read or written, 2 usage, or it is not certain which entry --take-back means; nothing is "
        "taken back then",
    )
    add_config(listing)
    add = listing.add_argument
    _add_revoked(listing, lambda each: each.to_list)
    add("--id", metavar="ID", action="append", help="the entry with this id, as listed; repeatable")
    add(
        "--take-back",
        action="store_true",
        help="take the entry back that revokes exactly what the flags name, or those with an --id",
    )
    add_changes(listing)


def _add_revoked(parser: "argparse.ArgumentParser", words: Callable[[_Revoked], str]) -> None:
    for revoked in _REVOKED:
        if revoked.value:
            parser.add_argument(
                revoked.flag, metavar=revoked.value, type=a_text, help=words(revoked)
            )
        else:
            parser.add_argument(revoked.flag, action="store_true", help=words(revoked))
