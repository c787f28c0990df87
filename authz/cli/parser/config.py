"""The arguments of the verbs about a config: check, keys, metadata, schema."""

from typing import TYPE_CHECKING

from authz.cli.parser.adding import add_config, add_verb

if TYPE_CHECKING:
    from authz.cli.parser.adding import Verbs


def add_check(verbs: "Verbs") -> None:
    """Add the verb check."""
    check = add_verb(verbs, "check", "check", "list every error in a config, with file and line")
    check.epilog = "exit status: 1 when there is an error or, with --strict, a warning"
    add_config(check)
    check.add_argument("--strict", action="store_true", help="exit 1 on warnings too")


def add_keys(verbs: "Verbs") -> None:
    """Add the verb keys."""
    keys = add_verb(
        verbs, "keys", "keys", "fetch every issuer's keys once, and show which are trusted"
    )
    keys.epilog = "exit status: 1 when the keys of an issuer could not be fetched"
    add_config(keys)


def add_metadata(verbs: "Verbs") -> None:
    """Add the verb metadata."""
    metadata = add_verb(
        verbs, "metadata", "metadata", "print a route's protected-resource metadata (RFC 9728)"
    )
    add_config(metadata)
    metadata.add_argument("route", metavar="ROUTE", help="the name of a route with a resource")


def add_schema(verbs: "Verbs") -> None:
    """Add the verb schema."""
    add_verb(verbs, "schema", "schema", "print the config's JSON Schema, for editors")
