"""Keys of the chips of CVE-2017-15361: refused wherever a public key comes from outside."""

import random
from itertools import islice
from math import prod
from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from authz.core.jose.jwk import KeySetError, proof_key
from authz.core.jose.roca import is_roca_weak
from support.jwks import ALL, jwk, number, parse, refusal

GENERATOR: Final = 65537
# How many primes M has, of a modulus of 1984 to 3936 bits (the paper's section 2.1).
FACTORS: Final = 126


def primes(count: int) -> list[int]:
    """The first primes."""
    candidates = (n for n in range(2, 2000) if all(n % d for d in range(2, int(n**0.5) + 1)))
    return list(islice(candidates, count))


def is_prime(number: int, r: random.Random) -> bool:
    """Whether a number is prime, most probably (Miller and Rabin)."""
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for _ in range(8):
        power = pow(r.randrange(2, number - 1), odd, number)
        if power in (1, number - 1):
            continue
        for _ in range(twos - 1):
            power = power * power % number
            if power == number - 1:
                break
        else:
            return False
    return True


def weak_prime(bits: int, r: random.Random) -> int:
    """A prime as the chips made them: k * M + (65537**a mod M)."""
    product = prod(primes(FACTORS))
    low, high = (3 << (bits - 2)) // product, (1 << bits) // product
    while True:
        made = r.randrange(low, high) * product + pow(GENERATOR, r.randrange(product), product)
        if is_prime(made, r):
            return made


def weak_modulus(bits: int, seed: int) -> int:
    """A modulus as the chips made them."""
    r = random.Random(seed)
    return weak_prime(bits // 2, r) * weak_prime(bits // 2, r)


@pytest.mark.parametrize(("bits", "seed"), [(2048, 10), (3072, 11)])  # found soon
def test_weak_keys_are_refused(bits: int, seed: int) -> None:
    """A key of the published form is named as such, in a key set and in a DPoP proof."""
    modulus = weak_modulus(bits, seed)
    key = jwk("RS256", n=number(modulus))

    assert modulus.bit_length() == bits
    assert "CVE-2017-15361" in refusal(key)[1]
    with pytest.raises(KeySetError, match="CVE-2017-15361"):
        proof_key({name: key[name] for name in ("kty", "n", "e")}, ALL)


def test_good_keys_are_taken() -> None:
    """Of keys made in another way none is taken for one of these."""
    r = random.Random(5)
    moduli = [r.getrandbits(2048) | 1 << 2047 | 1 for _ in range(20_000)]
    real = [rsa.generate_private_key(GENERATOR, 2048).public_key() for _ in range(4)]

    assert not any(map(is_roca_weak, moduli))
    assert not any(is_roca_weak(key.public_numbers().n) for key in real)
    assert parse(jwk("RS256"))[0]["k"]


def test_exponents_have_to_fit_together() -> None:
    """A number that is some power of 65537 for each prime alone is none of these."""
    r, odd = random.Random(6), primes(39)[1:]
    product = prod(odd)
    # By the Chinese remainder theorem: of each prime another power.
    residues = [(prime, pow(GENERATOR, r.randrange(prime), prime)) for prime in odd]
    alike = sum(
        residue * (product // prime) * pow(product // prime, -1, prime)
        for prime, residue in residues
    )
    chance = alike % product + product * r.getrandbits(1800)

    assert not is_roca_weak(chance)
    assert is_roca_weak(pow(GENERATOR, r.getrandbits(200), product) + product * r.getrandbits(1800))
