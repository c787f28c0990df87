"""Conformance: trees, proofs and notes are those of Go's packages for transparency logs.

``golang.org/x/mod/sumdb`` verifies Go's own checksum database, and was written by others.
"""

import json
import subprocess
from base64 import b64decode, b64encode
from typing import Any

import pytest

from authz.core.tlog.merkle import (
    CompactRange,
    inclusion_proof,
    leaf_hash,
    root_from_inclusion,
)
from authz.core.tlog.note import NoteSigner, NoteVerifier
from support.chained_log import ChainedLog, private_pem
from support.go_tools import MISSING, go_tool

pytestmark = [
    pytest.mark.skipif(MISSING is not None, reason=str(MISSING)),
    pytest.mark.timeout(400),  # a cold Go compiler takes a minute
]
RECORDS = [f'{{"record":{number}}}'.encode() for number in range(70)]
LEAVES = [leaf_hash(record) for record in RECORDS]


def go(order: dict[str, Any]) -> dict[str, Any]:
    """Return what Go says."""
    program = go_tool("sumdb", ".")
    done = subprocess.run(
        [program], input=json.dumps(order).encode(), capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def text(data: bytes) -> str:
    """Return bytes as Go's JSON has them."""
    return b64encode(data).decode()


def grown(begin: int, end: int) -> CompactRange:
    """Return a range of leaves."""
    compact = CompactRange(begin)
    for leaf in LEAVES[begin:end]:
        compact.append(leaf)
    return compact


def test_trees_and_proofs() -> None:
    """Roots of all sizes are Go's, we take Go's proofs, and Go takes ours but no changed one."""
    size, ours = len(RECORDS), []
    for index, record in enumerate(RECORDS):
        hashes = inclusion_proof(grown(0, index), grown(index + 1, size))
        root = grown(0, size).root()
        proof = {"Index": index, "Size": size, "Record": text(record), "Root": text(root)}
        ours.append(proof | {"Hashes": [text(each) for each in hashes]})
    changed = [one | {"Record": text(b"{}")} for one in ours]
    told = go({"Records": [text(record) for record in RECORDS], "Proofs": ours + changed})

    assert told["Roots"] == [text(grown(0, at + 1).root()) for at in range(size)]
    assert told["Accepted"] == [True] * size + [False] * size
    for one in told["Proofs"]:
        theirs = [b64decode(each) for each in one["Hashes"] or ()]
        leaf = leaf_hash(b64decode(one["Record"]))
        assert text(root_from_inclusion(leaf, one["Index"], size, theirs)) == told["Roots"][-1]


def test_go_opens_our_checkpoint() -> None:
    """Go opens a checkpoint of a log with the verifier key that we print, and no changed one."""
    signer = NoteSigner("authz-1", private_pem())
    log = ChainedLog(signer)
    log.close()
    note = json.loads(log.lines[-1])["checkpoint"]

    told = go({"Note": note, "Key": signer.verifier_key})
    assert told["Opened"] == note.rpartition("\n\n")[0] + "\n"
    changed = go({"Note": note.replace("after 0", "after 1"), "Key": signer.verifier_key})
    assert (changed["Opened"], bool(changed["Fault"])) == ("", True)


def test_we_open_a_note_of_go() -> None:
    """We open a note that Go signed, with the verifier key that Go made."""
    signed = "a/0/x\n1\nrecord\nmore: äöü\n"
    told = go({"Name": "go.example", "Text": signed})
    opened = NoteVerifier(told["Key"].encode()).open(told["Signed"])

    assert (opened.text, opened.signer) == (signed, "go.example")
