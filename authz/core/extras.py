"""Says which extra of the distribution a feature needs, and how to install it."""

from typing import Final

DISTRIBUTION: Final = "envoy-agent-authz"


def missing_extra(extra: str, what: str) -> str:
    """Say that a feature needs an extra, and how to install it from a checkout or a wheel."""
    wheel = f"{DISTRIBUTION.replace('-', '_')}-*.whl"
    return (
        f"{what} the extra {extra}, which is not installed: in a checkout pip install '.[{extra}]',"
        # Quoted, or the shell takes the brackets for a pattern of file names.
        f' with a wheel pip install "$(echo {wheel})[{extra}]"'
    )
