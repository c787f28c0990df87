"""Tests for RSA moduli that can be factored because of a chip's weak method (CVE-2017-15361).

Infineon's library made primes of the form ``k * M + 65537**a mod M``, where M is a product of the
first primes: so the modulus is a power of 65537 modulo each of these, with compatible exponents. By
chance that happens to one modulus in 2**154. See Nemec and others, "The Return of
Coppersmith's Attack", CCS 2017, section 4.
"""

from collections.abc import Iterator, Mapping
from itertools import combinations
from math import gcd
from typing import Final

_GENERATOR: Final = 65537
# The odd primes that divide M for keys of every size: for the shortest M is the product up to 167.
_PRIMES: Final = (
    *(3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71),
    *(73, 79, 83, 89, 97, 101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167),
)


def _powers(prime: int) -> Iterator[int]:
    """Yield 1, 65537, 65537**2 and so on, modulo a prime, until they repeat."""
    value = 1
    while True:
        yield value
        value = value * _GENERATOR % prime
        if value == 1:
            return


_LOGARITHMS: Final[Mapping[int, Mapping[int, int]]] = {
    prime: {power: exponent for exponent, power in enumerate(_powers(prime))} for prime in _PRIMES
}


def is_roca_weak(modulus: int) -> bool:
    """Tell whether an RSA modulus has the form. For most others, a few primes are enough."""
    found: list[tuple[int, int]] = []  # exponents, each modulo the order of 65537
    for prime, logarithms in _LOGARITHMS.items():
        exponent = logarithms.get(modulus % prime)
        if exponent is None:
            return False
        found.append((exponent, len(logarithms)))
    return all(
        (left - right) % gcd(left_order, right_order) == 0
        for (left, left_order), (right, right_order) in combinations(found, 2)
    )
