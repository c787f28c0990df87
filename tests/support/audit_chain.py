"""A chained audit log for tests: key, settings, lines, and a naive reader of what it proves."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from authz.adapters.audit import AuditSettings
from authz.adapters.audit.chain.key import read_signer
from authz.adapters.audit.identity import WorkerIdentity
from authz.adapters.audit.log import AuditLog
from authz.adapters.audit.records.line import AuditLine
from authz.core.tlog.lines import read_checkpoint, read_gap
from authz.core.tlog.merkle import CompactRange, leaf_hash
from authz.core.tlog.note import NoteVerifier

NAME = "authz-1"


def key_pem() -> bytes:
    """A new key."""
    form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Ed25519PrivateKey.generate().private_bytes(*form)


def key_in(folder: Path) -> Path:
    """The folder's key, which the first call makes."""
    path = folder / "chain.pem"
    if not path.exists():
        path.write_bytes(key_pem())
    return path


def settings_in(folder: Path, chain: dict[str, Any] | None = None, **more: Any) -> AuditSettings:
    """Settings of a chained log in a folder."""
    given_chain = {"key": str(key_in(folder)), "name": NAME, "interval": "200ms", **(chain or {})}
    if "sinks" not in more:
        more["path"] = str(folder / "audit.jsonl")
    return AuditSettings.model_validate({"chain": given_chain, **more})


@contextmanager
def logging_to(settings: AuditSettings, **identity: Any) -> Iterator[AuditLog]:
    """A running log."""
    log = AuditLog(settings, identity=WorkerIdentity(**identity))
    log.start()
    try:
        yield log
    finally:
        log.close()


def verifier(folder: Path) -> NoteVerifier:
    """What opens its notes."""
    chain = settings_in(folder).chain
    assert chain is not None
    return NoteVerifier(read_signer(chain).public_pem.encode())


def line(number: int) -> AuditLine:
    """A line of a decision; each tenth is another one."""
    decision = b'{"decision":"allow","principal":"%d"' % (number % 10)
    return AuditLine(decision, b',"path":"/"', 1e9 + number, "", "", f"{number:032x}", True, 1e-5)


class Proven:
    """What a file proves, read naively: each checkpoint is held against all leaves before it."""

    def __init__(self, *paths: Path, key: NoteVerifier) -> None:
        """Read the files, which belong together in this order."""
        self.logs: dict[str, list[bytes]] = {}
        self.kinds: list[str] = []
        self.covered: dict[str, int] = {}
        self.decisions: Counter[str] = Counter()  # by their log
        self.records: list[dict[str, Any]] = []  # of the log's own
        for path in paths:
            for raw in path.read_bytes().splitlines():
                self._feed(raw, key)

    def _feed(self, raw: bytes, key: NoteVerifier) -> None:
        try:
            members = json.loads(raw)
        except ValueError:
            self.kinds.append("torn")
            return
        self.kinds.append(members.get("audit", "record"))
        if "audit" in members:
            self.records.append(members)
        else:
            self.decisions[members["log"]] += 1
        self._line(raw, members, key)

    def _line(self, raw: bytes, members: dict[str, Any], key: NoteVerifier) -> None:
        leaves = self.logs.setdefault(members["log"], [])
        if "index" in members:
            assert members["index"] == len(leaves)
            leaves.append(leaf_hash(raw))
        elif members["audit"] == "gap":
            gap = read_gap(raw, key)
            assert gap.missing.begin == len(leaves)
            leaves += [b""] * (gap.missing.end - gap.missing.begin)
            self.tree(members["log"])
        else:
            signed = read_checkpoint(raw, key)
            assert signed.tree.end == len(leaves)
            if all(leaves):
                assert signed.tree == self.tree(members["log"])
            self.covered[members["log"]] = signed.tree.end

    def tree(self, log: str) -> CompactRange:
        """The tree of a log's leaves."""
        tree = CompactRange()
        for leaf in self.logs[log]:
            tree.append(leaf)
        return tree
