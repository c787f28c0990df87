"""The arguments of the verbs about a config: check, keys, metadata, gateway, schema."""

from typing import TYPE_CHECKING

from authz.cli.parser.adding import add_config, add_configs, add_json, add_verb, end_help
from authz.cli.parser.types import host_and_port

if TYPE_CHECKING:
    from authz.cli.parser.adding import Verbs


def add_check(verbs: "Verbs") -> None:
    """Add the verb check."""
    check = add_verb(
        verbs,
        "check",
        "check",
        "list every error in a config, with file and line",
        "List every error in a config and the files that it names, with file and line, and warn "
        "about likely mistakes. Several configs are checked separately.",
    )
    end_help(
        check,
        "authz check authz.yaml",
        "authz check --strict --elsewhere staging.yaml production.yaml",
        "envsubst < authz.yaml | authz check -",
        status="0 each config is valid, 1 one has an error or, with --strict, a warning, 2 usage",
    )
    add_configs(check)
    check.add_argument("--strict", action="store_true", help="exit 1 on warnings too")
    check.add_argument(
        "--elsewhere",
        action="store_true",
        help="the server runs on another machine, as in CI: a file that the config names and that "
        "is missing here is a note",
    )
    add_json(check)


def add_keys(verbs: "Verbs") -> None:
    """Add the verb keys."""
    keys = add_verb(
        verbs, "keys", "keys", "fetch every issuer's keys once, and show which are trusted"
    )
    end_help(
        keys,
        "authz keys authz.yaml",
        status="0 all were fetched, 1 the keys of an issuer could not be fetched, or the config "
        "is invalid, 2 usage",
    )
    add_config(keys)
    add_json(keys)


def add_metadata(verbs: "Verbs") -> None:
    """Add the verb metadata."""
    metadata = add_verb(
        verbs,
        "metadata",
        "metadata",
        "print a route's protected-resource metadata (RFC 9728)",
        "Print a route's protected-resource metadata (RFC 9728), a JSON document for your proxy "
        "to serve.",
    )
    end_help(
        metadata,
        "authz metadata authz.yaml finance > oauth-protected-resource.json",
        status="0 it was printed, 1 the config is invalid, 2 usage, or there is no such route",
    )
    add_config(metadata)
    metadata.add_argument("route", metavar="ROUTE", help="the name of a route with a resource")


def add_gateway(verbs: "Verbs") -> None:
    """Add the verb gateway."""
    gateway = add_verb(
        verbs,
        "gateway",
        "gateway",
        "print the config of a proxy that asks this server: of agentgateway, or of Envoy",
        "Print a whole config for a proxy that asks this server, made from CONFIG: where to ask, "
        "whose headers no client may set, which header carries the token, which profile applies, "
        "and which routes have messages. Comments say what to change. For agentgateway, the hosts "
        "of routes with protocol: mcp are the MCP servers behind it.",
    )
    end_help(
        gateway,
        "authz gateway agentgateway authz.yaml > agentgateway.yaml",
        "authz gateway envoy authz.yaml --server authz.corp.example:9191 > envoy.yaml",
        status="0 it was printed, 1 the config is invalid, or has no profile for such a proxy, "
        "2 usage",
    )
    gateway.add_argument(
        "proxy", metavar="PROXY", choices=["agentgateway", "envoy"], help="agentgateway or envoy"
    )
    add_config(gateway)
    gateway.add_argument(
        "--server",
        type=host_and_port,
        metavar="HOST:PORT",
        help="where the proxy reaches this server; default: server.listen of the config",
    )


def add_schema(verbs: "Verbs") -> None:
    """Add the verb schema."""
    schema = add_verb(verbs, "schema", "schema", "print the config's JSON Schema, for editors")
    end_help(schema, "authz schema > authz.schema.json", status="0 it was printed, 2 usage")
