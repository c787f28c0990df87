"""The ``admin`` section of the config."""

from typing import Annotated

from pydantic import Field

from authz.core.settings import PortExists, Settings


class AdminSettings(Settings):
    """The HTTP address for operators: /metrics, /healthz, /readyz and /presented."""

    listen: Annotated[str, Field(pattern=r"^[^/\s]+:[0-9]{1,5}$"), PortExists] = "127.0.0.1:9192"
    """host:port. There is no authentication: use an address that only operators can reach."""
    exposed: bool = False
    """Others than this machine may reach the address, and that is meant. You vouch that a network
    policy or a firewall keeps everybody out but probes and monitoring; authz check then doesn't
    warn of it.
    """
