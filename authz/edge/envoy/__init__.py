"""Envoy's dialect, ext_authz: protobuf read as the edge's checks, answers written as protobuf."""

from authz.edge.envoy.authorization import Authorization

__all__ = ["Authorization"]
