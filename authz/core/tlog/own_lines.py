"""How the lines begin that an audit log writes about itself; no record of a decision begins so."""

from typing import Final

OWN: Final = b'{"audit":"'
CHECKPOINT: Final = OWN + b'checkpoint"'
GAP: Final = OWN + b'gap"'
CLOSED: Final = OWN + b'closed"'  # the last leaf of a log
