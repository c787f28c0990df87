"""A file of entries, a line each, that commands write while servers read it; and its history."""
