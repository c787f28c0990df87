"""``authz gateway``: prints the config of a proxy that asks this server."""

import argparse
import sys

from authz.cli.common import FINE, complain
from authz.cli.reading import load_config
from authz.review.gateways.agentgateway import agentgateway_text, warnings
from authz.review.gateways.envoy import envoy_text


def run(options: argparse.Namespace) -> int:
    """Print it, and return the exit status. Raises ConfigError and GatewayError."""
    config = load_config(options.config)
    if options.proxy == "envoy":
        sys.stdout.write(envoy_text(config, options.server))
        return FINE
    sys.stdout.write(agentgateway_text(config, options.server))
    complain(*(f"authz: {warning}" for warning in warnings(config)))
    return FINE
