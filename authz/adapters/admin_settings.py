"""The ``admin`` section of the config."""

from typing import Annotated

from pydantic import Field

from authz.core.settings import PortExists, Settings


class AdminSettings(Settings):
    """The HTTP address for operators: /metrics, /healthz, /readyz and /presented."""

    listen: Annotated[str, Field(pattern=r"^[^/\s]+:[0-9]{1,5}$"), PortExists] = "127.0.0.1:9192"
    """host:port. There is no authentication: use an address that only operators can reach."""
