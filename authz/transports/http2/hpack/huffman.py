"""Huffman coding of header strings (RFC 7541 5.2), an octet of code at a time.

A decoder that walks the code bit by bit costs more than all else in a header block. This one is a
state machine over octets: a state is the part of a code that was read so far, and each of its
steps, by an octet, leads to a state and gives the symbols that were completed: two at most,
since codes have five bits at least. A step is made by a walk when it is first needed and kept.
There are 256 states and 65,536 steps, so that what is kept is bounded for good: some 10 MB if
somebody sends each, and a hundredth of that for texts.
"""

from typing import Final

from authz.transports.http2.hpack.errors import CompressionError
from authz.transports.http2.hpack.huffman_code import CODES, EOS

_SYMBOLS: Final = {code: bytes([symbol]) for symbol, code in CODES.items()}
_BITS: Final = [f"{CODES[symbol]:b}"[1:] for symbol in range(256)]


class _State(dict[int, "tuple[_State, bytes]"]):
    """The steps by octet from one state."""

    __slots__ = ("is_end", "prefix")

    def __init__(self, prefix: int) -> None:
        """Begin without steps; ``prefix`` is the part of a code read so far, behind a 1."""
        super().__init__()
        self.prefix = prefix
        # Padding is the beginning of EOS, and shorter than an octet: at most seven ones (5.2).
        self.is_end = prefix < 1 << 8 and not prefix & (prefix + 1)

    def __missing__(self, octet: int) -> "tuple[_State, bytes]":
        """Make a step, bit by bit."""
        prefix, symbols = self.prefix, b""
        for shift in range(7, -1, -1):
            prefix = prefix << 1 | octet >> shift & 1
            if prefix in _SYMBOLS:
                symbols += _SYMBOLS[prefix]
                prefix = 1
            elif prefix == EOS:
                raise CompressionError("a string contains the end-of-string symbol")
        # Two threads that race make equal steps, between the same states.
        step = self[octet] = _STATES[prefix], symbols
        return step


def _prefixes() -> set[int]:
    """Return all proper prefixes of codes."""
    prefixes = {1}
    for code in (*CODES.values(), EOS):
        prefix = code >> 1
        while prefix not in prefixes:
            prefixes.add(prefix)
            prefix >>= 1
    return prefixes


_STATES: Final = {prefix: _State(prefix) for prefix in _prefixes()}
_START: Final = _STATES[1]


def decode(code: bytes) -> bytes:
    """Return the text. Raise CompressionError for EOS in it, and for invalid padding."""
    state = _START
    texts: list[bytes] = []
    add = texts.append
    for octet in code:
        state, symbols = state[octet]
        add(symbols)
    if not state.is_end:
        raise CompressionError("a string's padding is invalid")
    return b"".join(texts)


def encode(text: bytes) -> bytes:
    """Return the code of a text, padded with ones to whole octets."""
    bits = "".join([_BITS[octet] for octet in text])
    bits += "1" * (-len(bits) % 8)
    return int(bits or "0", 2).to_bytes(len(bits) // 8)
