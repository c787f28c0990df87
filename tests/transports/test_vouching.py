"""Who vouches for a proxy's certificate: all that TLS takes, and nothing that it would not."""

import datetime as dt
import itertools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID, ObjectIdentifier

from authz.core.spiffe import SpiffeId
from authz.transports.callers import REMEMBERED_BYTES, CallerAuthenticator
from authz.transports.vouching import MAX_SIGNATURES, _Search, find_chain
from lab.ca import Svid, _key_usage
from lab.mesh import TRAVEL
from support.ports import SERVER, WAYPOINT, Port, ask_once, listening
from support.world import wait_until

numbers = itertools.count()
NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)
HOUR = dt.timedelta(hours=1)
Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
Extensions = Iterable[tuple[x509.ExtensionType, bool]]
# What is held: the CAs, the chain as it is sent, and the leaf's key.
Case = tuple[list[x509.Certificate], list[x509.Certificate], Key]


def curve() -> ec.EllipticCurvePrivateKey:
    """A key."""
    return ec.generate_private_key(ec.SECP256R1())


def made(
    subject: str,
    key: Key,
    issuer: str,
    issuer_key: Key,
    extensions: Extensions = (),
    *,
    ca: bool = True,
    signs: bool | None = None,
    path_length: int | None = None,
    start: dt.datetime = NOW - HOUR,
) -> x509.Certificate:
    """A certificate."""
    names = [
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)] if text else [])
        for text in (subject, issuer)
    ]
    builder = (
        x509.CertificateBuilder()
        .subject_name(names[0])
        .issuer_name(names[1])
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + 5 * HOUR)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=path_length), critical=True)
        .add_extension(_key_usage(ca=ca if signs is None else signs), critical=True)
    )
    for extension, is_critical in extensions:
        builder = builder.add_extension(extension, is_critical)
    has_none = isinstance(issuer_key, ed25519.Ed25519PrivateKey)
    return builder.sign(issuer_key, None if has_none else hashes.SHA256())


def leaf(
    issuer: str, issuer_key: Key, extensions: Extensions = (), name: str = WAYPOINT
) -> tuple[x509.Certificate, Key]:
    """A proxy's certificate, and its key."""
    key = curve()
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(name)])
    return made("", key, issuer, issuer_key, [(names, False), *extensions], ca=False), key


def by_root(key: Key, extensions: Extensions = ()) -> Case:
    """A root with these, and a leaf."""
    name = f"root {next(numbers)}"  # of several with one name TLS tries one
    certificate, own = leaf(name, key)
    return [made(name, key, name, key, extensions)], [certificate], own


def by_intermediate(extensions: Extensions = (), of_leaf: Extensions = (), **changes: Any) -> Case:
    """A root, an intermediate with these, and a leaf."""
    number = next(numbers)
    name, root_name = f"intermediate {number}", f"root {number}"
    root, key = curve(), curve()
    certificate, own = leaf(name, key, of_leaf)
    between = made(name, key, root_name, root, extensions, **changes)
    return [made(root_name, root, root_name, root)], [certificate, between], own


def uris(*hosts: str) -> list[x509.GeneralName]:
    """For name constraints."""
    return [x509.UniformResourceIdentifier(host) for host in hosts]


def only(*hosts: str) -> Extensions:
    """Name constraints on URIs, as X509-SVID section 4.2 has them."""
    return [(x509.NameConstraints(uris(*hosts), None), True)]


def policies() -> tuple[x509.ExtensionType, bool]:
    """Any policy, critical."""
    policy = x509.PolicyInformation(ObjectIdentifier("2.5.29.32.0"), None)
    return x509.CertificatePolicies([policy]), True


def pinned() -> Case:
    """A proxy's own certificate as what is trusted."""
    key = curve()
    names = x509.SubjectAlternativeName(uris(WAYPOINT))
    own = made("proxy", key, "proxy", key, [(names, False)], ca=False)
    return [own], [own], key


def with_an_old_cross_signature() -> Case:
    """The chain ends with the root, signed by a CA that ended."""
    old, key = curve(), curve()
    (root,), (certificate,), own = by_root(key)
    name = root.subject.rfc4514_string().removeprefix("CN=")
    crossed = made(name, key, "old", old, start=NOW - 9 * HOUR)
    return [root], [certificate, crossed], own


def anchored_in_the_middle() -> Case:
    """What is trusted is an intermediate, whose root is not known."""
    _, (certificate, between), own = by_intermediate()
    return [between], [certificate], own


TAKEN: dict[str, Callable[[], Case]] = {
    "ed25519": lambda: by_root(ed25519.Ed25519PrivateKey.generate()),
    "rsa": lambda: by_root(rsa.generate_private_key(65537, 2048)),
    "names of the root": lambda: by_root(curve(), only("corp.example")),
    "names of an intermediate": lambda: by_intermediate(only("other.example", "corp.example")),
    "names of a domain": lambda: by_intermediate(only(".example")),
    "names of hosts": lambda: by_intermediate(
        [(x509.NameConstraints([x509.DNSName("corp.example")], None), True)]
    ),
    "policies": lambda: by_intermediate([policies()], [policies()]),
    "policy constraints": lambda: by_intermediate([(x509.PolicyConstraints(5, None), True)]),
    "pinned": pinned,
    "cross-signed": with_an_old_cross_signature,
    "an intermediate": anchored_in_the_middle,
}


def put(port: Port, authorities: list[x509.Certificate]) -> None:
    """Have the server trust these."""
    taken = port.tls.status().taken
    own = port.world.authority.issue(SERVER, dns=("localhost",))
    port.write(own, *authorities)
    wait_until(lambda: port.tls.status().taken > taken, seconds=10)


def shown(chain: list[x509.Certificate], key: Key) -> Svid:
    """What a client shows."""
    pem = b"".join(one.public_bytes(Encoding.PEM) for one in chain).decode()
    form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Svid(chain[0], pem, key.private_bytes(*form).decode(), Path(), Path())


def test_what_tls_takes_is_taken(tmp_path: Path) -> None:
    """Through a real handshake: each kind of chain that a mesh may have."""
    cases = {name: make() for name, make in TAKEN.items()}
    with listening(tmp_path) as port:
        put(port, [one for authorities, _, _ in cases.values() for one in authorities])
        said = {name: ask_once(port, shown(chain, key)) for name, (_, chain, key) in cases.items()}

    assert said == dict.fromkeys(cases, "allow")


def by_another_key() -> Case:
    """A CA of the same name, with another key."""
    (root,), chain, own = by_root(curve())
    name, key = root.subject.rfc4514_string().removeprefix("CN="), curve()
    return [made(name, key, name, key)], chain, own


def too_deep() -> Case:
    """A root that may have no intermediates below, with one."""
    root, key = curve(), curve()
    certificate, own = leaf("between", key)
    between = made("between", key, "root", root)
    return [made("root", root, "root", root, path_length=0)], [certificate, between], own


def weakly_signed() -> Case:
    """SHA-1, which is found in collision."""
    key = rsa.generate_private_key(65537, 2048)
    between = curve()
    certificate, own = leaf("between", between)
    good = made("between", between, "root", key)
    # The library signs no certificate so: another algorithm (RFC 8017 A.2.4), and its signature.
    sha256, sha1 = (bytes.fromhex(f"2a864886f70d0101{end}") for end in ("0b", "05"))
    der = good.public_bytes(Encoding.DER).replace(sha256, sha1)
    tbs = x509.load_der_x509_certificate(der).tbs_certificate_bytes
    signature = key.sign(tbs, padding.PKCS1v15(), hashes.SHA1())
    weak = x509.load_der_x509_certificate(der[: -len(signature)] + signature)
    return [made("root", key, "root", key)], [certificate, weak], own


def unknown() -> Case:
    """A CA that is trusted no more."""
    return (by_root(curve())[0], *by_root(curve())[1:])


NOT_TAKEN: dict[str, Callable[[], Case]] = {
    "names of others": lambda: by_intermediate(only("other.example")),
    "names of its subdomains": lambda: by_intermediate(only(".corp.example")),
    "names without ours": lambda: by_intermediate(
        [(x509.NameConstraints(None, uris("corp.example")), True)]
    ),
    "no CA": lambda: by_intermediate(ca=False, signs=True),
    "no signer": lambda: by_intermediate(signs=False),
    "ended": lambda: by_intermediate(start=NOW - 9 * HOUR),
    "not begun": lambda: by_intermediate(start=NOW + HOUR),
    "too deep": too_deep,
    "another key": by_another_key,
    "a short key": lambda: by_root(rsa.generate_private_key(65537, 1024)),
    "a weak signature": weakly_signed,
    "unknown": unknown,
}


@pytest.mark.parametrize("name", NOT_TAKEN)
def test_who_may_not_vouch(name: str) -> None:
    """What another path could lack is asked again, where no handshake did."""
    authorities, (certificate, *sent), _ = NOT_TAKEN[name]()

    with pytest.raises(ValueError, match="no trusted CA vouches for it"):
        find_chain(certificate, SpiffeId.parse(WAYPOINT), tuple(sent), tuple(authorities), NOW)


def test_a_search_is_bounded() -> None:
    """Certificates of one name that all sign each other lead on for so long and no longer."""
    key = curve()
    certificate, _ = leaf("ring", key)
    ring = tuple(made("ring", key, "ring", key) for _ in range(8))
    search = _Search(SpiffeId.parse(WAYPOINT), ring, (), NOW)

    assert search.from_here((certificate,)) is None
    assert search._signatures == 0
    assert MAX_SIGNATURES > 0


def test_what_is_remembered_of_callers_is_bounded(tmp_path: Path) -> None:
    """By bytes: what stands beside a certificate in its chain is up to who shows it."""
    with listening(tmp_path) as port:
        certificate = port.world.authority.issue(TRAVEL).certificate_pem.encode()
        gate = CallerAuthenticator(port.tls, NOW.timestamp)
        for number in range(500):
            junk = b"%08d" % number * 12_500
            assert gate((certificate, junk)) is None

        assert gate._standings.bytes <= REMEMBERED_BYTES
