"""Which entries are certain to be meant, and who is named as the author of a revocation."""

import argparse
import os
import socket

import pytest

from authz.cli.revoking.meant import meant
from authz.cli.revoking.shown import Shown
from authz.cli.revoking.who import user_at_host
from authz.core.revocations import REVOKED, Revocation, RevocationError


def flags(**given: object) -> argparse.Namespace:
    """The flags of a command."""
    return argparse.Namespace(**{**dict.fromkeys(REVOKED), "id": None, **given})


def test_two_entries_of_one_id() -> None:
    """Entries of the file and the store that differ, and share an id, are not told apart by it."""
    entries = [
        Shown("same", Revocation(tool="x"), {"file": 1}),
        Shown("same", Revocation(tool="y"), {"store": None}),
        Shown("other", Revocation(tool="z"), {"store": None}),
    ]
    for asked in (flags(id=["same"]), flags(tool="x")):
        with pytest.raises(RevocationError, match="2 entries that differ have the id same"):
            meant(asked, entries)
    assert meant(flags(tool="z"), entries) == meant(flags(id=["other"]), entries) == entries[2:]


def test_who(monkeypatch: pytest.MonkeyPatch) -> None:
    """The author is the user at this host, behind sudo its caller, and without a name a number."""
    host = socket.gethostname()
    monkeypatch.setenv("SUDO_USER", "alice")
    monkeypatch.setattr(os, "getuid", lambda: 0)
    assert user_at_host() == f"alice@{host}"
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)
    assert user_at_host() == f"uid-4000000000@{host}"
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.delenv("SUDO_USER")
    assert user_at_host() == f"root@{host}"
