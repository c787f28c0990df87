"""The Huffman code of header strings (RFC 7541 appendix B), made from the lengths of its codes."""

from collections.abc import Iterator
from typing import Final

# The code is canonical: codes are counted up through the symbols of each length, in their order. So
# the lengths define all of it. The rows of many symbols are in hexadecimal.
_SYMBOLS_OF_LENGTH: Final = {
    5: b"012aceiost",
    6: b" %-./3456789=A_bdfghlmnpru",
    7: b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz",
    8: b"&*,;XZ",
    10: b'!"()?',
    11: b"'+|",
    12: b"#>",
    13: b"\0$@[]~",
    14: b"^}",
    15: b"<`{",
    19: b"\\\xc3\xd0",
    20: bytes.fromhex("808283a2b8c2e0e2"),
    21: bytes.fromhex("99a1a7acb0b1b3d1d8d9e3e5e6"),
    22: bytes.fromhex("8184858688929a9ca0a3a4a9aaadb2b5b9babbbdbec4c6e4e8e9"),
    23: bytes.fromhex("0187898a8b8c8d8f93959697989b9d9ea5a6a8aeafb4b6b7bcbfc5e7ef"),
    24: bytes.fromhex("098e9091949fabced7e1eced"),
    25: bytes.fromhex("c7cfeaeb"),
    26: bytes.fromhex("c0c1c8c9cacdd2d5dadbeef0f2f3ff"),
    27: bytes.fromhex("cbccd3d4d6dddedff1f4f5f6f7f8fafbfcfdfe"),
    28: bytes.fromhex("020304050607080b0c0e0f1011121314151718191a1b1c1d1e1f7fdcf9"),
    30: b"\n\r\x16",
}


def _codes() -> Iterator[tuple[int, int]]:
    """Yield each symbol and its code; a 1 stands before the code and keeps its leading zeros."""
    code, code_bits = 0, 0
    for bits, symbols in _SYMBOLS_OF_LENGTH.items():
        code <<= bits - code_bits
        code_bits = bits
        for symbol in symbols:
            yield symbol, 1 << bits | code
            code += 1


CODES: Final = dict(_codes())  # of each octet, with a 1 before it
EOS: Final = (1 << 31) - 1  # the end-of-string code: thirty ones, with a 1 before them
