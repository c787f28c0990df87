"""The arguments of the verb store."""

from typing import TYPE_CHECKING

from authz.cli.parser.adding import add_config, add_json, add_verb, end_help

if TYPE_CHECKING:
    from authz.cli.parser.adding import Verbs


def add_store(verbs: "Verbs") -> None:
    """Add the verb store."""
    store = add_verb(
        verbs,
        "store",
        "store",
        "say what the store that replicas share is, and whether it works",
    )
    end_help(
        store,
        "authz store authz.yaml",
        status="0 it can be used, 1 it can't be used, there is none, or the config is invalid, "
        "2 usage",
    )
    add_config(store)
    add_json(store)
