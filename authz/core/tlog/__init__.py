"""A transparency log's pure parts: Merkle trees, signed notes, checkpoints and gaps."""
