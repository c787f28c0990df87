"""The places where records go: files, pipes and receivers, each with a queue of its own."""
