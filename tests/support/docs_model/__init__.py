"""An independent model of the docs: slow and plain, to compare the server's answers with.

It follows docs/ step by step, as a person would who reads them, and reads nothing of ``authz``.
Where the docs leave the reason of a refusal open, it names each that they allow. A config is what
a config file holds, as plain data, and right.

It leaves out what ``support.company`` never asks for: batches, decisions by headers
alone, completions, REST and gRPC bindings of A2A, bound tokens, revocations, ``add_headers``, and
values that conditions can't read.
"""

from support.docs_model.asked import Asked, Config, Refused, Rule, Token, Verdict
from support.docs_model.decide import decide

__all__ = ["Asked", "Config", "Refused", "Rule", "Token", "Verdict", "decide"]
