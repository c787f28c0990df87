"""The lab's config in two files: how the server runs, and who may do what."""

from lab.mesh import CONFIG

INCLUDED = "policy.d/team.yaml"


def halves() -> tuple[str, str]:
    """Return the lab's config in two: how the server runs, and who may do what."""
    text = CONFIG.format(
        socket="/run/authz/authz.sock",
        admin_port=9192,
        drain="5s",
        jwks_uri="http://127.0.0.1:1/jwks",
        audit="-",
    )
    begin, end = text.index("routes:"), text.index("audit:")
    main = f"include: [{INCLUDED}]\ncache: {{entries: 5000}}\n{text[:begin]}{text[end:]}"
    return main, text[begin:end]
