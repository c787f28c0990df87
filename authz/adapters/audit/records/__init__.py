"""Records of decisions: their members, their bytes, and what redaction leaves out."""
