"""Suggests the agent of the config that is meant by a text which is not a SPIFFE ID."""

from authz.config import Config
from authz.config.nearest import nearest_or_all
from authz.core.spiffe import SCHEME


def agent_hint(config: Config, text: str | None) -> str:
    """Return what may be meant by a text, as ``nearest`` does; "" for None and a SPIFFE ID."""
    if text is None or text.startswith(SCHEME):
        return ""
    known = [entry.id for entry in config.agents]
    same = [name for name in known if name.rpartition("/")[2] == text]
    return f"; did you mean {same[0]}?" if same else nearest_or_all(text, known, "its agents")
