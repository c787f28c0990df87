"""Writes audit logs with a chain, as a server does, for tests of their readers."""

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from authz.core.tlog.lines import SignedGap, checkpoint_line, gap_line, leaf_end, sign_checkpoint
from authz.core.tlog.merkle import CompactRange, leaf_hash
from authz.core.tlog.note import NoteSigner

_EPOCH = datetime(2026, 11, 29, 16, 45, tzinfo=UTC)


def private_pem(kind: str = "ed25519") -> bytes:
    """Return a new private key, "ed25519" or "p256"."""
    key = Ed25519PrivateKey.generate() if kind == "ed25519" else generate_private_key(SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@dataclass
class ChainedLog:
    """One log, whose lines it collects.

    Attributes:
        signer: signs in the server's name.
        worker: the number of the worker.
        workers: how many there are.
        run: the ID of the run.
        start: seconds after a fixed time at which it opens.
        records: how many leaves a checkpoint covers.
        lines: all lines so far, with line feeds.
    """

    signer: NoteSigner
    worker: int = 0
    workers: int = 1
    run: str = "00000000000000aa"
    start: int = 0
    records: int = 10
    previous: Sequence["ChainedLog"] = ()
    lines: list[bytes] = field(default_factory=list)
    tree: CompactRange = field(default_factory=CompactRange)
    leaves: list[bytes] = field(default_factory=list)
    last: int = 0

    def __post_init__(self) -> None:
        """Write the first record."""
        opened = {
            "audit": "opened",
            "time": self.time,
            "version": 1,
            "server": self.signer.name,
            "worker": self.worker,
            "workers": self.workers,
            "run": self.run,
            "previous": [log.ending() for log in self.previous],
        }
        self.leaf(_compact(opened))

    @property
    def origin(self) -> str:
        """Return the log's name."""
        at = _EPOCH + timedelta(seconds=self.start)
        return f"{self.signer.name}/{self.worker}/{at:%Y%m%dT%H%M%SZ}-{self.start:08x}"

    @property
    def time(self) -> str:
        """Return a time that grows with the log."""
        at = _EPOCH + timedelta(seconds=self.start, milliseconds=self.tree.end)
        return f"{at:%Y-%m-%dT%H:%M:%S.%f}Z"

    def ending(self) -> dict[str, object]:
        """Return the log as a later one names it."""
        root = b64encode(self.tree.root()).decode()
        return {"log": self.origin, "size": self.tree.end, "root": root}

    def leaf(self, text: str) -> None:
        """Write a record: a JSON object without the chain's members."""
        line = text.encode()[:-1] + leaf_end(self.origin, self.tree.end)
        self.leaves.append(leaf_hash(line))
        self.tree.append(self.leaves[-1])
        self.lines.append(line + b"\n")

    def record(self, number: int) -> None:
        """Write a record of a decision, and a checkpoint if one is due."""
        record = {
            "decision": "allow" if number % 3 else "deny",
            "agent": f"spiffe://corp.example/agent/{number % 7}",
            "path": "/mcp",
            "time": self.time,
            "decision_id": f"{self.signer.name}-{self.start:x}-{self.worker}-{number}",
        }
        self.leaf(_compact(record))
        if self.tree.end - self.last >= self.records:
            self.checkpoint()

    def checkpoint(self) -> None:
        """Write a checkpoint."""
        signed = sign_checkpoint(self.signer, self.origin, self.tree, self.time, self.last)
        self.lines.append(checkpoint_line(signed))
        self.last = self.tree.end

    def rotate(self) -> list[bytes]:
        """Return the lines for a file that is moved away, and begin the next with a checkpoint."""
        if self.last < self.tree.end:
            self.checkpoint()
        moved, self.lines = self.lines, [self.lines[-1]]
        return moved

    def miss(self, begin: int, end: int, sink: str = "siem") -> None:
        """Replace leaves by a gap, with checkpoints between them, as a sink that missed them."""
        missing = CompactRange(begin)
        for leaf in self.leaves[begin:end]:
            missing.append(leaf)
        before = [line for line in self.lines if _end(line) <= begin]
        behind = [line for line in self.lines if _end(line) >= end and not _is_at(line, end)]
        behind = [line for line in behind if line not in before]
        gap = gap_line(self.signer, SignedGap(self.origin, missing, sink))
        self.lines = [*before, gap, *behind]

    def close(self, reason: str = "stopped", **more: object) -> None:
        """Write the last record, and its checkpoint."""
        self.leaf(_compact({"audit": "closed", "reason": reason, "time": self.time, **more}))
        self.checkpoint()


def _compact(members: Mapping[str, object]) -> str:
    return json.dumps(members, separators=(",", ":"))


def _end(line: bytes) -> int:
    """Return the size of the log behind a line."""
    members = json.loads(line)
    return int(members["index"]) + 1 if "index" in members else int(members["size"])


def _is_at(line: bytes, end: int) -> bool:
    """Tell whether a line is the last leaf of a gap."""
    return bool(json.loads(line).get("index") == end - 1)
