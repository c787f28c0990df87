"""Make the manifest of Prometheus' rules for Prometheus Operator, from the rule file."""

from pathlib import Path
from textwrap import indent
from typing import Final

RULES: Final = "deploy/observability/authz-rules.yaml"
MANIFEST: Final = "deploy/kustomize/components/monitoring/prometheus-rule.yaml"
_HEAD: Final = f"""\
# Made from {RULES} by `make generate`.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: agent-authz
  namespace: agent-authz
  labels: {{app.kubernetes.io/name: agent-authz}}
spec:
"""


def rule_manifest(root: Path) -> str:
    """Return the PrometheusRule of the project in this folder."""
    return _HEAD + indent((root / RULES).read_text(), "  ")
