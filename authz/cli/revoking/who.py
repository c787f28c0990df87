"""Names the user who runs the command, for people: nothing proves it."""

import os
import pwd
import socket


def user_at_host() -> str:
    """Return the user, behind sudo the one who called it, and the host: alice@ops1."""
    user = os.environ.get("SUDO_USER") if os.getuid() == 0 else None
    return f"{user or _name(os.getuid())}@{socket.gethostname()}"


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:  # as in a container
        return f"uid-{user}"
