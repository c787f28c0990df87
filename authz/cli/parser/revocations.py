"""The arguments of the verbs about revocations: revoke."""

from typing import TYPE_CHECKING

from authz.cli.parser.adding import add_config, add_verb, end_help
from authz.cli.parser.types import a_time

if TYPE_CHECKING:
    from authz.cli.parser.adding import Verbs


def add_verbs(verbs: "Verbs") -> None:
    """Add the verb revoke."""
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
