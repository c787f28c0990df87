"""Envoy's dialect, ext_authz: its protobuf on one side, the edge's own values on the other."""

from authz.edge.envoy.authorization import Authorization

__all__ = ["Authorization"]
