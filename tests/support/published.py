"""Envoy's and CEL's published messages, of xds-protos.

The package is in a folder of its own, without its copies of Google's and OpenTelemetry's messages:
they are older than those of opentelemetry-proto, and have the same names.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(sys.prefix) / "xds"))

from cel.expr import checked_pb2
from envoy.config.core.v3 import base_pb2
from envoy.service.auth.v3 import external_auth_pb2

__all__ = ["base_pb2", "checked_pb2", "external_auth_pb2"]
