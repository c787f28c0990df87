"""The members of lines beside a decision's own, and the lines that the log writes about itself.

They are for the schema alone (``schema.py``): faster code writes the lines.
"""

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType


class RecordEnd(msgspec.Struct):
    """The members that complete a record for each request."""

    time: str
    """The time at which the check was answered, RFC 3339 in UTC."""
    request_id: str
    """The request's `x-request-id`, 128 characters at most; clients may choose it."""
    trace_id: str
    """The trace id of the request's `traceparent`."""
    decision_id: str
    """Also in the answer, the metadata and `x-agent-decision-id`."""
    cache: Literal["hit", "miss"]
    """`hit` when the decision was remembered."""
    duration_us: int
    """From the check's bytes to its answer, in microseconds."""


class LeafEnd(msgspec.Struct):
    """The last members of a leaf's line, with audit.chain."""

    log: str | UnsetType = UNSET
    """With audit.chain, the log, a Merkle tree, whose leaf the line is: the server's name, the
    worker's number, the start, and a random number.
    """
    index: int | UnsetType = UNSET
    """With audit.chain, the number of the leaf in this log, from 0."""


class Previous(msgspec.Struct):
    """A log of an earlier run, as the new run found it."""

    log: str
    """The log's name."""
    size: int
    """How many leaves it has."""
    root: str
    """The Base64 of its root hash."""


class Opened(msgspec.Struct):
    """The first leaf of a log: a worker begins to write."""

    time: str
    """When the worker began, RFC 3339 in UTC."""
    version: int
    """The version of this schema."""
    server: str
    """The server's name (audit.chain.name)."""
    worker: int
    """The worker's number, from 0."""
    workers: int
    """How many workers the run has, each with a log of its own."""
    run: str
    """The same for all workers of a start of the server."""
    previous: list[Previous]
    """The logs that this run found in its files."""


class Dropped(msgspec.Struct):
    """A leaf that counts records for which the queue had no room."""

    count: int
    """How many records are missing."""
    since: str
    """When the first of them was lost, RFC 3339 in UTC."""
    until: str
    """When the last of them was lost, RFC 3339 in UTC."""


class Closed(msgspec.Struct):
    """The last leaf of a log."""

    reason: Literal["stopped", "crashed"]
    """Whether the server stopped, or a later run found the log without its end."""
    time: str
    """When the log was closed, RFC 3339 in UTC."""
    recovered_by: str | UnsetType = UNSET
    """After a crash, the log whose worker closed this one."""
    after: int | UnsetType = UNSET
    """After a crash, the number from which on records may be missing."""
    torn: list[str] | str | UnsetType = UNSET
    """After a crash, the Base64 of the leaf hashes of lines that were written in part."""


class Checkpoint(msgspec.Struct):
    """A signed statement of all leaves so far; no leaf itself."""

    time: str
    """When it was signed, RFC 3339 in UTC."""
    log: str
    """The log's name."""
    size: int
    """How many leaves it covers."""
    tree: list[str]
    """The Base64 of the hashes of the full subtrees of these leaves, the largest first."""
    checkpoint: str
    """The signed note: C2SP tlog-checkpoint."""


class Gap(msgspec.Struct):
    """A signed statement that a sink misses some leaves; no leaf itself."""

    log: str
    """The log's name."""
    begin: int = msgspec.field(name="from")
    """The number of the first missing leaf."""
    end: int = msgspec.field(name="to")
    """The number after the last missing leaf."""
    hashes: list[str] = msgspec.field(default_factory=list)
    """The Base64 of the hashes of the full subtrees that cover the missing leaves."""
    sink: str = ""
    """The name of the sink that misses them."""
    gap: str = ""
    """The signed note."""


LEAVES = (Opened, Dropped, Closed)
SIGNED = (Checkpoint, Gap)
