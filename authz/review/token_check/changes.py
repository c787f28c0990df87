"""Changes of an issuer's settings, each a line that an operator can paste."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from authz.core.delegation import IssuerSettings
from authz.review.yaml_flow import flow


@dataclass(frozen=True, slots=True)
class Change:
    """Lines to put into an issuer's block.

    Attributes:
        lines: settings by name, as in the config; those of ``actor`` in a mapping of their own.
        only_if: the condition that the operator must check; "" if the token itself shows it.
    """

    lines: Mapping[str, Any]
    only_if: str = ""

    def yaml(self) -> str:
        """Return the lines as YAML, in one line."""
        return ", ".join(f"{name}: {flow(value)}" for name, value in self.lines.items())


def changed(issuer: IssuerSettings, change: Change) -> IssuerSettings | None:
    """Return the settings with a change, None if they would not be valid."""
    lines = issuer.model_dump(exclude={"actor"})
    lines["kind"] = None if issuer.kind is None else str(issuer.kind)
    actor = issuer.actor.model_dump() | dict(change.lines.get("actor", {}))
    try:
        return IssuerSettings.model_validate({**lines, **change.lines, "actor": actor})
    except ValidationError:
        return None
