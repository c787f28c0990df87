"""Tamper evidence: the Merkle tree of a process, its checkpoints, and recovery after a crash."""
