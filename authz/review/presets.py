"""Writes the settings of a kind of issuer, as YAML to paste and as data."""

from collections.abc import Iterator, Mapping
from typing import Any

from authz.core.delegation.presets import PRESETS
from authz.core.issuer_kind import IssuerKind
from authz.review.yaml_flow import flow


def preset_lines(kind: IssuerKind) -> Iterator[str]:
    """Yield the lines that the kind sets in an issuer's block, and those that it leaves open."""
    preset = PRESETS[kind]
    yield f"# kind: {kind} stands for these lines of an issuer:"
    for name, value in preset.lines.items():
        yield f"{name}: {flow(value)}"
    yield f"# A client's own token: {preset.own}."
    yield f"# To be said beside it: {preset.needs}."


def preset_members(kind: IssuerKind) -> dict[str, Any]:
    """Return the same for ``--json``."""
    preset = PRESETS[kind]
    return {"lines": _plain(preset.lines), "own": preset.own, "needs": preset.needs}


def _plain(value: object) -> Any:  # noqa: ANN401 - as JSON takes it
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return value
